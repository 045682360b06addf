# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Converts a checkpoint of full size and compares the model with a second implementation of the original.

    python -m tests.helpers.check_full_size paper_b16 --folder full-size
    python -m tests.helpers.check_full_size paper_l14_336 --folder full-size

The weights are made from their names and shapes. Each step is a process of its own, so that its memory can be told; it
takes 10 GB of disk, 16 GB of memory and some minutes. Prints a report and exits with 1 if a bound is broken. What the
second implementation of SAM's image encoder says is kept in the folder for the other preset.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.helpers.golden_weights import make_weights, seeded
from tests.helpers.original_in_plain_torch import Original, Sizes, losses
from tests.helpers.original_shapes import FULL_SIZES, after_first_forward, checkpoint_shapes

ROOT = Path(__file__).resolve().parents[2]
# What may differ at most; losses relatively.
BOUNDS = {"masks": 1e-4, "boxes": 1e-5, "losses": 1e-5}
MEMORY_BOUND = 1.3  # of checkpoint and model together, in the conversion


def make(preset: str, folder: Path):
    """Writes the checkpoint."""
    layers = FULL_SIZES[preset].vision_layers
    weights = make_weights(after_first_forward(checkpoint_shapes(FULL_SIZES[preset]), layers), layers)
    # The aliases of the checkpoint share the storage of what they repeat.
    for name in [name for name in weights if name.startswith("encoder.visual.attn.")]:
        weights[name] = weights[name.replace("visual.", f"visual.transformer.resblocks.{layers - 6}.", 1)]
    torch.save({"model": weights, "epoch": 79, "args": argparse.Namespace()}, folder / "best.pth")


def model_inputs(preset: str) -> dict[str, torch.Tensor]:
    """An image and two expressions, one of which fills all positions."""
    sizes = FULL_SIZES[preset]
    side, start, end = sizes.patch * sizes.grid, sizes.vocabulary - 2, sizes.vocabulary - 1
    ids = torch.zeros(2, 77, dtype=torch.long)
    ids[0, :6] = torch.tensor([start, 320, 736, 1615, 269, end])
    ids[1] = torch.tensor([start, *range(1000, 1075), end])
    return {
        "pixel_values": seeded("input.sam_pixel_values", (1, 3, 1024, 1024)),
        "semantic_pixel_values": seeded("input.image", (1, 3, side, side)),
        "input_ids": ids,
    }


def labels() -> dict[str, torch.Tensor]:
    """A disc and a box for each expression."""
    across = torch.arange(512)
    squared = (across[None] - 200) ** 2 + (across[:, None] - 300) ** 2
    masks = torch.stack([squared < 90**2, squared > 150**2]).float()
    return {"mask_labels": masks, "box_labels": torch.tensor([[0.4, 0.6, 0.3, 0.3], [0.5, 0.5, 0.9, 0.8]])}


def openai_name(name: str) -> str:
    """The name of a weight before the first forward."""
    if not name.startswith("encoder.visual."):
        return name
    return name.replace(".attn.qkv.", ".attn.in_proj_").replace(".attn.proj.", ".attn.out_proj.")


def reference(preset: str, folder: Path):
    """Runs the second implementation on the checkpoint."""
    content = torch.load(folder / "best.pth", mmap=True, weights_only=False)
    original = Original({openai_name(name): tensor for name, tensor in content["model"].items()}, Sizes())
    inputs, wanted = model_inputs(preset), labels()
    with torch.no_grad():
        fused = original.fused_patches(inputs["semantic_pixel_values"].expand(2, -1, -1, -1), inputs["input_ids"])
        boxes, prompts = original.prompts(fused)
        seen = folder.parent / "sam_embeddings.pt"  # SAM has the same names, and so the same weights, in every preset
        if not seen.exists():
            torch.save(original.sam_image(inputs["pixel_values"]), seen)
        masks = original.masks(torch.load(seen), prompts)
        resized = masks[:, None]
        for side in (1024, 512):
            resized = torch.nn.functional.interpolate(resized, (side, side), mode="bilinear", align_corners=False)
        found = losses(resized[:, 0], boxes, wanted["mask_labels"], wanted["box_labels"])
    torch.save({"masks": masks, "boxes": boxes, "losses": torch.stack(list(found.values()))}, folder / "reference.pt")


def model(preset: str, folder: Path):
    """Runs the converted model."""
    from transformers import AutoModel

    import ssp_sam  # noqa: F401 (registers the model)

    loaded = AutoModel.from_pretrained(folder / "converted").eval()
    inputs = model_inputs(preset)
    with torch.no_grad():
        output = loaded(**inputs, image_index=torch.zeros(2, dtype=torch.long), **labels())
    found = torch.stack([output.loss_dict[name] for name in ("dice", "focal", "l1", "giou")])
    masks = output.pred_masks[:, 0]
    torch.save({"masks": masks, "boxes": output.pred_boxes, "losses": found}, folder / "model.pt")


def run(command: list[str]) -> tuple[float, float]:
    """Runs a process; returns its seconds and its peak memory in GB, mapped files included."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return time.monotonic() - start, usage.ru_maxrss * 1024 / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("preset", choices=FULL_SIZES)
    parser.add_argument("--folder", type=Path, required=True, help="folder to work in, on a disk with 10 GB")
    parser.add_argument("--keep", action="store_true", help="leave checkpoint and model in the folder")
    parser.add_argument("--step", choices=("make", "reference", "model"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder / options.preset
    folder.mkdir(parents=True, exist_ok=True)
    if options.step is not None:
        globals()[options.step](options.preset, folder)
        return 0

    checkpoint, converted = folder / "best.pth", folder / "converted"
    convert = [str(ROOT / "scripts/convert_ssp_sam_checkpoint.py"), "--checkpoint", str(checkpoint)]
    own = [__file__, options.preset, "--folder", str(options.folder), "--step"]
    shutil.rmtree(converted, ignore_errors=True)
    steps = {"make": [*own, "make"], "convert": [*convert, "--output", str(converted)]}
    steps |= {"model": [*own, "model"], "reference": [*own, "reference"]}
    used = {name: run(command) for name, command in steps.items()}

    sizes = [checkpoint.stat().st_size / 1e9, sum(file.stat().st_size for file in converted.iterdir()) / 1e9]
    print(f"{options.preset}: checkpoint {sizes[0]:.2f} GB, model {sizes[1]:.2f} GB")
    for name, (seconds, memory) in used.items():
        print(f"  {name:<10} {seconds:6.0f} s  peak memory {memory:5.2f} GB")
    share = used["convert"][1] / sum(sizes)
    print(f"  conversion: {share:.2f} of checkpoint and model together, at most {MEMORY_BOUND}")
    broken = share > MEMORY_BOUND
    found, expected = (torch.load(folder / f"{name}.pt") for name in ("model", "reference"))
    for name, bound in BOUNDS.items():
        difference = (found[name] - expected[name]).abs()
        worst = (difference / expected[name].abs() if name == "losses" else difference).max().item()
        broken |= not worst <= bound
        print(f"  {name:<6} differ by {worst:.1e}, at most {bound:.0e}; largest value {expected[name].abs().max():.3g}")
    if not options.keep:
        shutil.rmtree(folder)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
