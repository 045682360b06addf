# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What training repeats: the paper's model after SAM's image encoder, forward and with a step of its optimizer."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from .original import CHECKOUT, original_model
from .works import Work, default_model, without_gradients

PAIRS = 8


def paper(device: str) -> Iterator[Work]:
    """
    The paper's B/16 model on pairs of an image and an expression; SAM's embeddings are given, as from a cache.

    The original's code comes first where a checkout of it is named, and matrix products with as much arithmetic last:
    what is least on the machine.
    """
    # SAM's image encoder, which does not run, is left small.
    sam = {"vision_config": {"num_hidden_layers": 1, "global_attn_indexes": [0]}}
    model = default_model(device, preset="paper_b16", sam_config=sam)
    inputs = {
        "image_embeddings": torch.randn(PAIRS, 256, 64, 64, device=device),
        "semantic_pixel_values": torch.randn(PAIRS, 3, 224, 224, device=device),
        "input_ids": torch.randint(1, 40_000, (PAIRS, 77), device=device),
    }
    side = model.config.mask_size
    labels = {
        "mask_labels": (torch.rand(PAIRS, side, side, device=device) > 0.5).float(),
        "box_labels": 0.3 + 0.4 * torch.rand(PAIRS, 4, device=device),
    }
    models = {"": (model, lambda **labels: model(**inputs, **labels))}
    if CHECKOUT:
        models = {"the original, ": original_model(PAIRS, device, depth=1, global_attn_indexes=[0]), **models}
    for dtype, half in (("float32", False), ("bfloat16 by autocast", True)):
        for whose, (trained, run) in models.items():
            mixed = torch.autocast(device, torch.bfloat16, enabled=half)(run)
            step = training_step(trained, mixed, labels)
            yield Work(f"{whose}forward, {PAIRS} pairs, {dtype}", without_gradients(mixed))
            yield Work(f"{whose}training step, {PAIRS} pairs, {dtype}", step)
        square = torch.randn(2048, 2048, device=device, dtype=torch.bfloat16 if half else torch.float32)
        for what, work in (("forward", without_gradients(mixed)), ("training step", step)):
            with FlopCounterMode(display=False) as counter:
                work()
            number = counter.get_total_flops() // (2 * 2048**3)
            product = partial(torch.matmul, square, square)
            yield Work(f"as many operations as in that {what}, in large matrix products", repeated(product, number))


def training_step(model: torch.nn.Module, run: Callable, labels: dict) -> Callable[[], None]:
    """Returns what takes a step of an optimizer by the loss that a model returns for these labels."""
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def step():
        model.train()
        run(**labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.eval()

    return step


def repeated(run: Callable, number: int) -> Callable[[], None]:
    """Returns what runs something so many times."""
    return lambda: [run() and None for _ in range(number)]
