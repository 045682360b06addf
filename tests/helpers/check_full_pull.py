# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Pulls a checkpoint of full size from a Hub on this machine, and segments a photograph with it.

    python -m tests.helpers.check_full_pull paper_b16 --folder full-size

The weights are made from their names and shapes, so that masks mean nothing; time, memory and disk are those of real
ones, without the network. It takes 8 GB of disk and 6 GB of memory, and prints a table; exits with 1 if the peak memory
of the pull is more than 1.3 times the checkpoint.
"""

import argparse
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.helpers.authors_repository import AUTHORS, BASE, LARGE
from tests.helpers.check_full_size import ROOT, make
from tests.helpers.hub_server import LocalHub
from tests.helpers.original_checkpoints import save_tokenizer
from tests.helpers.original_shapes import FULL_SIZES

CLIP = {"paper_b16": BASE, "paper_l14_336": LARGE}
PHOTOGRAPH = ROOT / "training/scenes/assets/photographs/coffee_table.jpg"
MEMORY_BOUND = 1.3  # of the checkpoint


# A process of its own between this one and the measured one, which would inherit the peak memory of this one.
MEASURE = """
import os, sys, time
began = time.monotonic()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
open(sys.argv[1], "w").write(f"{time.monotonic() - began} {usage.ru_maxrss * 1024 / 1e9}")
sys.exit(status != 0)
"""


def run(words: list[str], folder: Path, **environment: str) -> tuple[float, float]:
    """Runs `ssp-sam` with these words; returns its seconds and its peak memory in GB, mapped files included."""
    measured = folder / "measured.txt"
    command = [sys.executable, "-c", MEASURE, str(measured), sys.executable, "-m", "ssp_sam.cli.main", *words]
    if subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}).returncode != 0:
        sys.exit(f"failed: ssp-sam {' '.join(words)}")
    seconds, memory = measured.read_text().split()
    return float(seconds), float(memory)


def size(folder: Path) -> float:
    """The files below a folder, in GB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("preset", choices=FULL_SIZES)
    parser.add_argument("--folder", type=Path, required=True, help="folder to work in, on a disk with 8 GB")
    options = parser.parse_args()
    folder = options.folder / options.preset
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, home, photograph = folder / "best.pth", folder / "hf", folder / "photograph.png"
    if not checkpoint.exists():
        make(options.preset, folder)
    shutil.rmtree(home, ignore_errors=True)
    Image.open(PHOTOGRAPH).convert("RGB").resize((1800, 1200)).save(photograph)
    save_tokenizer(folder / "tokenizer", FULL_SIZES[options.preset].vocabulary)

    with LocalHub() as hub, checkpoint.open("rb") as stream:
        content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        hub.publish(AUTHORS, {"output/unc/checkpoint_best_miou.pth": content, "README.md": b"# SSP-SAM\n"})
        tokenizer = {path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()}
        hub.publish(CLIP[options.preset], {**tokenizer, "config.json": b'{"model_type": "clip"}'})
        online = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        used = {"pull": run(["pull", AUTHORS], folder, **online)}
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    used["pull again, offline"] = run(["pull", AUTHORS], folder, **offline)
    segment = [
        "segment",
        str(photograph),
        "the cup",
        "the table",
        "--model",
        AUTHORS,
        "--masks-dir",
        str(folder / "masks"),
    ]
    for dtype in ("float32", "bfloat16"):
        used[f"segment, {dtype}"] = run([*segment, "--dtype", dtype], folder, **offline)

    given = checkpoint.stat().st_size / 1e9
    print(f"{options.preset}: checkpoint {given:.2f} GB, on {os.cpu_count()} cores")
    for name, (seconds, memory) in used.items():
        print(f"  {name:<20} {seconds:6.0f} s  peak memory {memory:5.2f} GB")
    print(f"  disk: download {size(home / 'hub'):.2f} GB, model {size(home / 'ssp-sam'):.2f} GB")
    fraction = used["pull"][1] / given
    print(f"  peak memory of the pull: {fraction:.2f} of the checkpoint, at most {MEMORY_BOUND}")
    shutil.rmtree(home)
    return int(fraction > MEMORY_BOUND)


if __name__ == "__main__":
    sys.exit(main())
