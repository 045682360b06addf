# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What training repeats: the paper's model after SAM's image encoder, forward and with a step of its optimizer."""

from collections.abc import Iterator

import torch

from .works import Work, default_model, without_gradients

PAIRS = 8


def paper(device: str) -> Iterator[Work]:
    """The paper's B/16 model on pairs of an image and an expression; SAM's embeddings are given, as from a cache."""
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
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def step(half: bool):
        model.train()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            model(**inputs, **labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def predict(half: bool):
        model.eval()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            return model(**inputs)

    for dtype, half in (("float32", False), ("bfloat16 by autocast", True)):
        yield Work(f"forward, {PAIRS} pairs, {dtype}", without_gradients(predict, half))
        yield Work(f"training step, {PAIRS} pairs, {dtype}", lambda half=half: step(half))
