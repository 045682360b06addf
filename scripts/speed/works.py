# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A work, and what works are made of: models with random weights, random inputs, and ways to run them."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from ssp_sam import SspSamConfig, SspSamModel

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; sys.argv[0] = 'ssp-sam'; from ssp_sam.cli.main import main; sys.exit(main())"
# One thread, no network, and the checkout that this file lies in.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


class Work(NamedTuple):
    """
    One row of the table.

    Args:
        name: what is done.
        run: does it once.
        tells_time: whether `run` returns the seconds that count, where processes or threads share a work.
    """

    name: str
    run: Callable[[], Any]
    tells_time: bool = False


def many(count: int) -> str:
    """Returns a number of expressions in words."""
    return "1 expression" if count == 1 else f"{count} expressions"


def default_model(device: str, preset: str = "default", **fields) -> SspSamModel:
    """Returns a model of a preset, some fields of its configuration aside, with random weights."""
    with torch.device(device):
        return SspSamModel(SspSamConfig.from_preset(preset, **fields)).eval()


def default_pixels(model: SspSamModel) -> dict[str, torch.Tensor]:
    """Returns a random image in the precision of a model of the default size."""
    sides = {"pixel_values": 1024, "semantic_pixel_values": 224}
    return {name: torch.randn(1, 3, side, side, device=model.device, dtype=model.dtype) for name, side in sides.items()}


def words(count: int, device: str, length: int = 8) -> dict[str, torch.Tensor]:
    """Returns expressions of that many random words."""
    return {
        "input_ids": torch.randint(1000, 20_000, (count, length), device=device),
        "attention_mask": torch.ones(count, length, dtype=torch.long, device=device),
    }


def about_one_image(count: int, device: str) -> dict[str, torch.Tensor]:
    """Returns expressions that all belong to one image."""
    return {**words(count, device), "image_index": torch.zeros(count, dtype=torch.long)}


def half(model: nn.Module) -> nn.Module:
    """Returns a copy of a model in bfloat16."""
    return copy.deepcopy(model).to(torch.bfloat16)


def compiled(model: Callable, mode: str | None = None) -> Callable:
    """Returns a model that is compiled for each size of its inputs."""
    return torch.compile(model, mode=mode, dynamic=False)


def without_gradients(run: Callable, *arguments: Any, **inputs: Any) -> Callable[[], object]:
    """Returns what runs a model on these inputs without keeping what gradients need."""
    return lambda: torch.no_grad()(run)(*arguments, **inputs)


def program(folder: Path, code: str, *arguments: str) -> Callable[[], object]:
    """Returns what runs Python code in a process of its own, in a folder and with these arguments."""
    line, environment = [sys.executable, "-c", code, *arguments], os.environ | ENVIRONMENT
    return lambda: subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True)


def write_photograph(path: Path, width: int, height: int):
    """Writes a JPEG that is as costly to decode as a photograph: soft colours under a little noise."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)).resize((width, height))
    noisy = np.asarray(colours) + rng.normal(0, 8, (height, width, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=92)
