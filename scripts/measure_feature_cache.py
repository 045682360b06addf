# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Measures the feature cache at the sizes of ViT-H and CLIP B/16, beside one float32 `.npy` file per image.

    python scripts/measure_feature_cache.py --num-images 256

Values are random, since neither size nor speed depends on them. All files are in the system's page cache when they are
read and speed is that of one core's own time, so that the figures are those of the code and not of a disk.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from torch import nn

from ssp_sam.training.feature_cache.cache import writing_to
from ssp_sam.training.feature_cache.identity import CacheIdentity, weights_digest

SHAPES = {"image_embeddings": [256, 64, 64], "patch_features": [196, 512]}


def main(argv: list[str] | None = None) -> dict:
    """Runs the measurement; returns and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=256, help="images written and read")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    args = parser.parse_args(argv)
    figures = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for title, names in (("SAM alone", ["image_embeddings"]), ("with patches", list(SHAPES))):
            figures[title] = measure_cache(Path(folder) / title, names, args.num_images)
        figures[".npy"] = measure_arrays(Path(folder) / "arrays", args.num_images)
    figures["identity of ViT-H, seconds of one core"] = measure_identity()
    print(json.dumps(figures, indent=2))
    return figures


def measure_cache(folder: Path, names: list[str], num_images: int) -> dict:
    """Writes a cache and reads every image once in random order."""
    identity = CacheIdentity({name: {"shape": SHAPES[name]} for name in names})
    keys = [hashlib.sha256(bytes([number % 256, number // 256])).hexdigest()[:32] for number in range(num_images)]
    with writing_to(folder, identity) as cache:
        for key in keys:
            cache.write(key, {name: torch.randn(SHAPES[name]).half() for name in names})
    cache.read(keys[0])
    before = resident_bytes()
    return {
        "bytes per image": folder_bytes(folder) / num_images,
        "reads per second of one core": reads_per_second(cache.read, keys),
        "resident memory, growth in MB": round((resident_bytes() - before) / 1e6, 1),
        "read in MB": round(num_images * identity.value_bytes / 1e6),
    }


def measure_arrays(folder: Path, num_images: int) -> dict:
    """The same for one float32 file per image."""
    folder.mkdir()
    paths = [folder / f"{number}.npy" for number in range(num_images)]
    for path in paths:
        np.save(path, np.random.standard_normal(SHAPES["image_embeddings"]).astype(np.float32))
    rate = reads_per_second(np.load, paths)
    return {"bytes per image": folder_bytes(folder) / num_images, "reads per second of one core": rate}


def reads_per_second(read: Callable[[Any], Any], names: list) -> int:
    """Reads everything once in random order; returns how many a second of one core."""
    start = time.process_time()
    for name in random.Random(0).sample(names, len(names)):
        read(name)
    return round(len(names) / (time.process_time() - start))


def measure_identity() -> float:
    """Hashes as many weights as ViT-H has, which opening a cache does once."""
    layers = nn.ModuleList(nn.Linear(4096, 4862, bias=False) for _ in range(32))  # 637 million
    start = time.process_time()
    weights_digest(layers)
    return round(time.process_time() - start, 1)


def folder_bytes(folder: Path) -> int:
    """Returns the size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def resident_bytes() -> int:
    """Returns the memory that this process holds, mapped files included."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
