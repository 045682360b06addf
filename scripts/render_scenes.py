# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Renders generated scenes into the cache folder that training reads; may be interrupted and repeated."""

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from ssp_sam.training.scenes.dataset import render_scenes
from ssp_sam.training.scenes.generator import SPLITS


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="scene_cache", help="cache folder")
    parser.add_argument("--num-scenes", type=int, default=40000)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--canvas-size", type=int, default=128, help="side of the square the scenes are fitted to")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    start = time.monotonic()

    def report(done: int, total: int):
        print(f"\r{done}/{total} chunks, {(time.monotonic() - start) / 60:.1f} min", end="", flush=True)

    folder = render_scenes(
        args.output,
        split=args.split,
        num_scenes=args.num_scenes,
        canvas_size=args.canvas_size,
        num_workers=args.workers,
        progress=report,
    )
    print(f"\n{folder}")


if __name__ == "__main__":
    main()
