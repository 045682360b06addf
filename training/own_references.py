# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Opens a folder of one's own pictures and masks for training, with some pictures kept back for validation."""

import shutil
from pathlib import Path

import numpy as np
from datasets import Dataset, concatenate_datasets

from .arguments import DataArguments
from .data.prepared import load_prepared, shards_by_split
from .preparation.prepare import PreparationSettings, prepare


def open_own_references(data: DataArguments, folder: Path, *, renew: bool, seed: int) -> tuple[Dataset, Dataset]:
    """
    Prepares and opens the references of `train_dir` and `eval_dir`.

    Without `eval_dir`, the split that `eval_split` names in the metadata is kept for validation; without such a split,
    `eval_fraction` of the pictures, all references of a picture together.

    Args:
        data: Names the folders.
        folder: Where the prepared references are kept.
        renew: Whether they are prepared again if they are there.
        seed: Decides which pictures are kept back.

    Returns:
        References to train on and to validate on.

    Raises:
        ValueError: A folder cannot be used, or has too few pictures to keep any back.
    """
    splits = _prepared(data.train_dir, folder / "train", renew)
    if data.eval_dir is not None:
        held_out = _prepared(data.eval_dir, folder / "eval", renew)
        return concatenate_datasets(list(splits.values())), concatenate_datasets(list(held_out.values()))
    if data.eval_split in splits and data.train_split in splits:
        return splits[data.train_split], splits[data.eval_split]
    rows = concatenate_datasets(list(splits.values()))
    return keep_back(rows, data.eval_fraction, seed)


def keep_back(rows: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """
    Divides references by picture, at random.

    Raises:
        ValueError: There are fewer than two pictures.
    """
    ids = rows["image_id"]
    pictures = sorted(set(ids))
    if len(pictures) < 2:
        raise ValueError(
            f"train_dir has {len(pictures)} picture, too few to keep one back for validation; name an eval_dir"
        )
    count = min(len(pictures) - 1, max(1, round(fraction * len(pictures))))
    kept = {pictures[place] for place in np.random.default_rng(seed).permutation(len(pictures))[:count]}
    places = [[], []]
    for place, name in enumerate(ids):
        places[name in kept].append(place)
    return rows.select(places[0]), rows.select(places[1])


def _prepared(source: str | None, output: Path, renew: bool) -> dict[str, Dataset]:
    """Returns the references of a folder by split."""
    if renew:
        for earlier in (output, output.with_name(f"{output.name}.partial")):
            shutil.rmtree(earlier, ignore_errors=True)
    if not output.exists():
        prepare(PreparationSettings(benchmark="folder", annotations=str(source), images=str(source)), output)
    return {split: load_prepared(output, split) for split in shards_by_split(output)}
