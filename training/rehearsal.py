# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Rehearsal: some of what a model learned before in every batch, and a measure of what it forgets all the same."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

# Name of its metrics among those of an evaluation.
REHEARSAL = "rehearsal"
# Per image, and per expression; ids and their mask are padded to the longer of two batches first.
IMAGE_TENSORS = ("pixel_values", "semantic_pixel_values")
EXPRESSION_TENSORS = ("input_ids", "attention_mask", "mask_labels", "box_labels", "no_target_labels")
WORD_TENSORS = ("input_ids", "attention_mask")
SHOWN_METRICS = ("gIoU", "N-acc", "T-acc")


def joined_batches(first: Iterator[dict], second: Iterator[dict], pad_token_id: int) -> Iterator[dict]:
    """Yields pairs of batches as one."""
    for pair in zip(first, second):
        yield join_batches(*pair, pad_token_id=pad_token_id)


def join_batches(first: dict, second: dict, *, pad_token_id: int) -> dict:
    """
    Returns two batches as one; images and expressions of the second follow those of the first.

    Args:
        first: Inputs and labels of `ReferringObjective` by name, with `num_samples`.
        second: The same; what only one of the two has and the model does not need is left out.
        pad_token_id: Id that fills the shorter expressions.

    Raises:
        ValueError: One batch has features of images in place of pixels.
    """
    joined: dict[str, Any] = {}
    for name in (*IMAGE_TENSORS, *EXPRESSION_TENSORS):
        if (name in first) != (name in second):
            raise ValueError(f"batches of the data and of what is rehearsed must both have {name}; one has not")
        if name in first:
            parts = [first[name], second[name]]
            if name in WORD_TENSORS:
                width = max(part.shape[1] for part in parts)
                value = pad_token_id if name == "input_ids" else 0
                parts = [F.pad(part, (0, width - part.shape[1]), value=value) for part in parts]
            joined[name] = torch.cat([part.to(parts[0].dtype) for part in parts])
    joined["image_index"] = torch.cat([first["image_index"], second["image_index"] + len(first["pixel_values"])])
    joined["num_samples"] = first["num_samples"] + second["num_samples"]
    joined["names"] = [*names_of(first), *names_of(second)]
    return joined


def names_of(batch: dict) -> list[str]:
    """Returns what the items of a batch are called in messages."""
    return batch["names"] if "names" in batch else [f"scene {key}" for key in batch["keys"]]


def describe_forgetting(name: str, before: dict, after: dict) -> str:
    """Says in one line what became of the metrics on former data."""
    shown = [metric for metric in SHOWN_METRICS if None not in (before.get(metric), after.get(metric))]
    changes = ", ".join(f"{metric} {before[metric]:.3f} -> {after[metric]:.3f}" for metric in shown)
    return f"what was known before ({name}): {changes}"
