# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Exports as annotation tools write them, with one of each fault that people's exports were seen to have."""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
# A polygon of 20 x 15 pixels.
POLYGON = [10, 12, 30, 12, 30, 27, 10, 27]


def _photograph(path: Path, seed: int, size=(WIDTH, HEIGHT), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)


def write_images(root: Path) -> dict[str, str]:
    """
    Writes image files, good ones and bad ones; returns their paths by what is the matter with them.

    `good` is alone in that; `cam1` and `cam2` share a name, `copy` has the bytes of `good`, `twin` is in two splits.
    """
    paths = {
        "good": "photos/good one.png",
        "cam1": "cam1/0001.png",
        "cam2": "cam2/0001.png",
        "copy": "photos/copy.png",
        "twin": "photos/twin.png",
        "cut off": "photos/cut.png",
        "dark": "photos/dark.png",
        "odd ending": "photos/odd.jfif",
        "other size": "photos/other.png",
    }
    for seed, (kind, path) in enumerate(paths.items()):
        _photograph(root / path, seed, (65, HEIGHT) if kind == "other size" else (WIDTH, HEIGHT), **_format(kind))
    (root / paths["copy"]).write_bytes((root / paths["good"]).read_bytes())
    (root / paths["cut off"]).write_bytes((root / paths["cut off"]).read_bytes()[:3000])
    dark = np.random.default_rng(9).integers(0, 16, (HEIGHT, WIDTH, 3), dtype=np.uint8)  # 12 bits, stored as 16
    Image.fromarray(dark).save(root / paths["dark"])
    (root / "photos" / "._good one.png").write_bytes(b"\0\5\26\7")  # what macOS keeps beside a file
    return paths


def _format(kind: str) -> dict:
    return {"format": "JPEG"} if kind == "odd ending" else {}


def box_of(polygon) -> list[float]:
    """Left, top, width, height."""
    left, top = min(polygon[::2]), min(polygon[1::2])
    return [left, top, max(polygon[::2]) - left, max(polygon[1::2]) - top]


# One per fault: the image, changes of the annotation.
FAULTS = [
    ("good", {}),
    ("cam1", {}),
    ("cam2", {}),
    ("odd ending", {}),
    ("copy", {"split": "val"}),
    ("twin", {}),
    ("twin", {"split": "val", "words": "the twin again"}),
    ("good", {"words": "the whole of it", "polygon": [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]}),
    ("good", {"words": "a speck", "polygon": [5, 5, 7, 5, 7, 7, 5, 7]}),
    ("good", {"words": "another place", "bbox": [40, 30, 20, 15]}),
    ("good", {"words": "over the edge", "bbox": [10, 12, 70, 15]}),
    ("good", {"words": "no pixel", "polygon": [100, 12, 120, 12, 120, 27], "bbox": [10, 12, 20, 15]}),
    ("dark", {}),
    # From here on records that cannot be used.
    ("cut off", {}),
    ("other size", {}),
    ("good", {"words": "in fractions", "polygon": [0.1, 0.2, 0.4, 0.2, 0.4, 0.6], "bbox": None}),
    ("good", {"words": "by corners", "polygon": [30, 20, 50, 20, 50, 40, 30, 40], "bbox": [30, 20, 50, 40]}),
    ("good", {"words": "half a character: \ud83d"}),
    ("good", {"words": "neither", "polygon": [], "bbox": None}),
    # And without words.
    ("good", {"words": None}),
]
USABLE, UNUSABLE = 13, 6


def _records(paths: dict[str, str], spell) -> tuple[list[dict], list[dict]]:
    numbers = {kind: number for number, kind in enumerate(paths)}
    images = [
        {"id": number, "file_name": spell(paths[kind]), "width": WIDTH, "height": HEIGHT}
        for kind, number in numbers.items()
    ]
    annotations = []
    for number, (kind, changes) in enumerate(FAULTS):
        polygon = changes.get("polygon", POLYGON)
        record = {
            "id": number,
            "image_id": numbers[kind],
            "category_id": 1,
            "segmentation": [polygon] if polygon else [],
            "bbox": changes["bbox"] if "bbox" in changes else box_of(polygon),
            "iscrowd": 0,
            "split": changes.get("split", "train"),
            "words": changes.get("words", "the thing"),
        }
        annotations.append(record)
    return images, annotations


def _write(path: Path, images, annotations, **members) -> Path:
    content = {"info": {}, "licenses": [], "categories": [{"id": 1, "name": "thing"}]}
    path.write_text(json.dumps({**content, "images": images, "annotations": annotations, **members}))
    return path


def write_cvat(root: Path, paths: dict[str, str]) -> Path:
    """CVAT, COCO 1.0: every annotation has the id 0, words are among the attributes, paths have backslashes."""
    images, annotations = _records(paths, lambda path: path.replace("/", "\\"))
    for record in annotations:
        record |= {"id": 0, "attributes": {"occluded": False, "caption": record.pop("words")}}
    return _write(root / "instances_default.json", images, annotations)


def write_label_studio(root: Path, paths: dict[str, str]) -> Path:
    """Label Studio: paths of its uploads with prefixes and spaces as in addresses, sizes as fractions."""
    draw = random.Random(0)

    def spell(path):
        folder, name = path.rsplit("/", 1)
        return f"..\\..\\label-studio\\media\\upload\\{folder}\\{draw.getrandbits(32):08x}-{name}".replace(" ", "%20")

    images, annotations = _records(paths, spell)
    for record in images:
        record |= {"width": float(record["width"]), "height": str(record["height"])}
    for record in annotations:
        record["caption"] = record.pop("words")
    return _write(root / "result.json", images, annotations)


def write_joined(root: Path, paths: dict[str, str]) -> Path:
    """Two exports put behind each other by a script: annotation ids start anew, one image and one record twice."""
    images, annotations = _records(paths, lambda path: path)
    for record in annotations:
        record |= {"id": record["id"] % 10, "expressions": record.pop("words")}
    return _write(root / "joined.json", [*images, images[0]], [*annotations, annotations[0]])


def write_references(root: Path, paths: dict[str, str]) -> Path:
    """A file with a list of references, as a script writes it: ids as text in one list and as numbers in the other."""
    images, annotations = _records(paths, lambda path: f"/home/somebody/data/{path}")
    references = [
        {"image_id": str(record["image_id"]), "ann_ids": [str(record["id"])], "split": record.pop("split")}
        | ({"expressions": [words]} if (words := record.pop("words")) else {})
        for record in annotations
    ]
    return _write(root / "references.json", images, annotations, references=references)


EXPORTS = {
    "CVAT": write_cvat,
    "Label Studio": write_label_studio,
    "two files in one": write_joined,
    "references": write_references,
}
