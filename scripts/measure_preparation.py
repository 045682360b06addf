# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Measures the preparation of a set of RefCOCO's size: writes one of tiny images and prepares it.

    python scripts/measure_preparation.py --folder preparation --processes 2

The set has as many images, references and sentences per split as RefCOCO (UNC), so that the published counts are met.
"""

import argparse
import io
import json
import math
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

# Images, references and sentences by split, as published; beside each object that is meant stand three others.
SPLITS = {
    "train": (16_994, 42_404, 120_624),
    "val": (1_500, 3_811, 10_834),
    "testA": (750, 1_975, 5_657),
    "testB": (750, 1_810, 5_095),
}
WIDTH, HEIGHT = 640, 480
CORNERS = 30  # of a polygon, about as many as COCO's have
WORDS = "man woman dog left right red blue shirt chair front back the in with standing sitting".split()


def write_set(folder: Path, splits: dict[str, tuple[int, int, int]], seed: int = 0) -> tuple[Path, Path]:
    """
    Writes a set in RefCOCO's raw format, with images, references and sentences by split and images of one colour;
    returns the folders of annotations and images.
    """
    draw = random.Random(seed)
    annotations, images = folder / "annotations", folder / "images" / "train2014"
    (annotations / "refcoco").mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(stream, format="JPEG", quality=30)
    instances = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    refs, sentence_id = [], 0
    for split, (num_images, num_refs, num_sentences) in splits.items():
        first = len(instances["images"]) + 1
        for image_id in range(first, first + num_images):
            name = f"COCO_train2014_{image_id:012d}.jpg"
            (images / name).write_bytes(stream.getvalue())
            instances["images"].append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for number in range(num_refs):
            image_id = first + number % num_images
            ann_ids = [_add_object(instances["annotations"], image_id, draw) for _ in range(4)]
            count = num_sentences // num_refs + (number < num_sentences % num_refs)
            sentences = []
            for _ in range(count):
                text = " ".join(draw.choices(WORDS, k=draw.randint(1, 6)))
                sentences.append({"sent_id": sentence_id, "sent": text, "raw": text, "tokens": text.split()})
                sentence_id += 1
            refs.append(
                {"ref_id": len(refs), "ann_id": ann_ids[0], "category_id": 1, "image_id": image_id, "split": split}
                | {"file_name": f"COCO_train2014_{image_id:012d}_{number}.jpg", "sentences": sentences}
                | {"sent_ids": [sentence["sent_id"] for sentence in sentences]}
            )
    with open(annotations / "refcoco" / "instances.json", "w") as file:
        json.dump(instances, file)
    with open(annotations / "refcoco" / "refs(unc).p", "wb") as file:
        pickle.dump(refs, file, protocol=2)
    return annotations, images.parent


def _add_object(annotations: list[dict], image_id: int, draw: random.Random) -> int:
    """An object with a wavy outline; returns its id."""
    radius = draw.uniform(20, 120)
    x, y = draw.uniform(radius, WIDTH - radius), draw.uniform(radius, HEIGHT - radius)
    polygon = []
    for corner in range(CORNERS):
        angle, reach = 2 * math.pi * corner / CORNERS, radius * draw.uniform(0.7, 1)
        polygon += [round(x + reach * math.cos(angle), 2), round(y + reach * math.sin(angle), 2)]
    left, top, right, bottom = min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])
    box = [left, top, round(right - left, 2), round(bottom - top, 2)]
    annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": 0, "bbox": box}
    annotations.append({**annotation, "segmentation": [polygon], "area": box[2] * box[3]})
    return annotation["id"]


def main(arguments: list[str] | None = None) -> int:
    """Writes the set, prepares it and prints rate and memory; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measures the preparation of a set of RefCOCO's size.")
    parser.add_argument("--folder", type=Path, required=True, help="folder to make; it may be deleted afterwards")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--image-bytes", action="store_true", help="store the images themselves")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the set; below 1 the counts are not compared")
    parser.add_argument("--no-decode-check", action="store_true", help="do not decode every image")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    splits = {name: tuple(max(1, round(options.fraction * number)) for number in of) for name, of in SPLITS.items()}
    annotations, images = write_set(options.folder, splits)
    print(f"wrote {options.fraction:g} of a set of RefCOCO's size in {time.perf_counter() - start:.1f} s", flush=True)
    command = [sys.executable, "-m", "ssp_sam.cli.main", "prepare", "refcoco", "--processes", str(options.processes)]
    command += ["--annotations", str(annotations), "--images", str(images)]
    command += ["--output", str(options.folder / "prepared")]
    command += ["--image-bytes"] * options.image_bytes + ["--no-decode-check"] * options.no_decode_check
    command += ["--allow-partial"] * (options.fraction < 1)
    # In a process of its own, so that its memory is not that of writing the set.
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
