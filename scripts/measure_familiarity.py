# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Counts the scenes and photographs that the embedded checkpoint takes for images unlike those it knows.

    python scripts/measure_familiarity.py --num-scenes 200 [photograph.jpg ...]

Held-out scenes should not be among them, photographs should. Without names the photographs are those from which scenes
take their backgrounds; three of them are kept from training.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import ssp_sam
from ssp_sam.familiarity import LEAST_SCORE, is_unfamiliar
from ssp_sam.processing.image_inputs import read_rgb
from ssp_sam.training.scenes.backgrounds import PHOTOGRAPH_FOLDER
from ssp_sam.training.scenes.generator import generate_scene


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("photographs", nargs="*", type=Path, help="image files (default: those of the backgrounds)")
    parser.add_argument("--num-scenes", type=int, default=200, help="scenes of each split (default: 200)")
    options = parser.parse_args(arguments)
    segmenter = ssp_sam.pipeline()
    print(f"unfamiliar: nothing found for 'everything', or its score below {LEAST_SCORE}")
    for split in ("validation", "test", "novel"):
        scenes = (generate_scene(seed, split).image for seed in range(options.num_scenes))
        print(f"  {split:<12} {sum(is_unfamiliar(segmenter, scene) for scene in scenes)} of {options.num_scenes}")
    photographs = options.photographs or sorted(PHOTOGRAPH_FOLDER.glob("*.jpg"))
    names = [path.stem for path in photographs if not is_unfamiliar(segmenter, read_rgb(str(path))[0])]
    print(f"  {'photographs':<12} {len(photographs) - len(names)} of {len(photographs)}; familiar: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
