# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Tiny benchmarks in the raw formats, byte for byte laid out as their authors publish them."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from ssp_sam.training.preparation.readers.images import ImageFolder
from ssp_sam.training.preparation.readers.records import BadRecord
from ssp_sam.training.preparation.rows import RowMaker

# Two images of COCO and what is in them: 40 x 30 and 30 x 40 pixels.
IMAGES = {581857: (40, 30), 9: (30, 40)}
LEFT_SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]  # x 2..11, y 3..12: 100 pixels
RIGHT_SQUARE = [20.0, 5.0, 25.0, 5.0, 25.0, 15.0, 20.0, 15.0]  # x 20..24, y 5..14: 50 pixels
CROWD_COUNTS = [0, 4, 36, 4, 1156]  # of 40 x 30: rows 0..3 of columns 0 and 1
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}]


def coco_name(image_id: int) -> str:
    return f"COCO_train2014_{image_id:012d}.jpg"


def write_image(path: Path, size: tuple[int, int], **options):
    """An image of `size` (width, height) with a different colour for each path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(np.random.default_rng(sum(path.name.encode())).integers(0, 256, 3))
    Image.new("RGB", size, tuple(int(value) for value in colour)).save(path, **options)


def write_coco_images(folder: Path) -> Path:
    for image_id, size in IMAGES.items():
        write_image(folder / "train2014" / coco_name(image_id), size)
    return folder


def instances() -> dict:
    """Four objects: two squares, one of two parts, and a crowd in run lengths."""
    return {
        "info": {"description": "a fixture"},
        "licenses": [{"id": 3, "name": "Attribution-NonCommercial-NoDerivs License", "url": "http://creativecommons"}],
        "images": [
            {"id": 581857, "file_name": coco_name(581857), "height": 30, "width": 40, "license": 3},
            {"id": 9, "file_name": coco_name(9), "height": 40, "width": 30, "license": 99},
        ],
        "annotations": [
            {"id": 1719310, "image_id": 581857, "category_id": 1, "iscrowd": 0, "area": 100.0}
            | {"segmentation": [LEFT_SQUARE], "bbox": [2, 3, 10, 10]},
            {"id": 1719311, "image_id": 581857, "category_id": 18, "iscrowd": 0, "area": 50.0}
            | {"segmentation": [RIGHT_SQUARE], "bbox": [20.0, 5.0, 5.0, 10.0]},
            {"id": 1719312, "image_id": 9, "category_id": 44, "iscrowd": 0, "area": 8.0}
            | {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2], [10, 30, 12, 30, 12, 32, 10, 32]], "bbox": [0, 0, 12, 32]},
            {"id": 900100009, "image_id": 9, "category_id": 1, "iscrowd": 1, "area": 8}
            | {"segmentation": {"size": [40, 30], "counts": CROWD_COUNTS}, "bbox": [0, 0, 2, 4]},
        ],
        "categories": CATEGORIES,
    }


def sentences(first_id: int, *texts: str) -> dict:
    """The fields of a ref that tell its sentences."""
    return {
        "sent_ids": list(range(first_id, first_id + len(texts))),
        "sentences": [
            {"sent_id": first_id + number, "sent": text, "raw": text.upper(), "tokens": text.split()}
            for number, text in enumerate(texts)
        ],
    }


def refs() -> list[dict]:
    """Four refs in the splits of RefCOCO; their file names are those of refs, not of files."""
    return [
        {"ref_id": 0, "ann_id": 1719310, "category_id": 1, "image_id": 581857, "split": "train"}
        | {"file_name": "COCO_train2014_000000581857_16.jpg"}
        | sentences(0, "the lady with the blue shirt", "señora – 女士"),
        {"ref_id": 1, "ann_id": 1719311, "category_id": 18, "image_id": 581857, "split": "train"}
        | {"file_name": "COCO_train2014_000000581857_4.jpg"}
        | sentences(2, "dog"),
        {"ref_id": 2, "ann_id": 1719312, "category_id": 44, "image_id": 9, "split": "testA"}
        | {"file_name": "COCO_train2014_000000000009_2.jpg"}
        | sentences(3, "both pieces of the bottle"),
        {"ref_id": 3, "ann_id": 900100009, "category_id": 1, "image_id": 9, "split": "val"}
        | {"file_name": "COCO_train2014_000000000009_3.jpg"}
        | sentences(4, "the people"),
    ]


def write_refer(root: Path, dataset: str = "refcoco", split_by: str = "unc", content=None, **pickling) -> Path:
    """A folder of the REFER toolkit; returns the folder above it."""
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.json").write_text(json.dumps(instances()))
    with open(folder / f"refs({split_by}).p", "wb") as stream:
        pickle.dump(refs() if content is None else content, stream, **{"protocol": 2, **pickling})
    return root


def grefs() -> list[dict]:
    """gRefCOCO: several targets, none, one with a crowd beside it, and one."""
    return [
        {"ref_id": 10, "ann_id": [1719310, 1719311], "category_id": [1, 18], "image_id": 581857, "split": "train"}
        | {"no_target": False, "file_name": coco_name(581857)}
        | sentences(0, "the lady and the dog", "both of them"),
        {"ref_id": 11, "ann_id": [-1], "category_id": [-1], "image_id": 581857, "split": "val"}
        | {"no_target": True, "file_name": coco_name(581857)}
        | sentences(2, "the giraffe"),
        {"ref_id": 12, "ann_id": [1719312, 900100009], "category_id": [44, 1], "image_id": 9, "split": "val"}
        | {"no_target": False, "file_name": coco_name(9)}
        | sentences(3, "the bottle and everyone"),
        {"ref_id": 13, "ann_id": [1719312], "category_id": [44], "image_id": 9, "split": "testA"}
        | {"no_target": False, "file_name": coco_name(9)}
        | sentences(4, "bottle"),
    ]


def write_grefcoco(root: Path) -> Path:
    folder = root / "grefcoco"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(instances()))
    (folder / "grefs(unc).json").write_text(json.dumps(grefs()))
    return root


def phrasecut_task(**changes) -> dict:
    """A phrase that means two instances, the second of two polygons."""
    return {
        "task_id": "2347567__1043_1047",
        "image_id": 2347567,
        "ann_ids": [1043, 1047],
        "phrase": "wooden chairs",
        "phrase_structure": {"name": "chairs", "attributes": ["wooden"], "relation_ids": [], "type": "attribute"},
        "instance_boxes": [[2, 3, 10, 10], [20, 0, 6, 20]],
        "Polygons": [
            [[[2, 3], [12, 3], [12, 13], [2, 13]]],
            [[[20, 0], [22, 0], [22, 2], [20, 2]], [[24, 18], [26, 18], [26, 20], [24, 20]]],
        ],
        **changes,
    }


def write_phrasecut(root: Path, **splits: list[dict]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, tasks in (splits or {"miniv": [phrasecut_task()]}).items():
        (root / f"refer_{split}.json").write_text(json.dumps(tasks))
    images = [{"image_id": 2347567, "width": 40, "height": 30, "coco_id": 9, "url": "", "split": "miniv"}]
    (root / "image_data_split3000.json").write_text(json.dumps(images))
    write_image(root / "VG_100K_2" / "2347567.jpg", (40, 30))
    return root


def stored_image(image_id=581857) -> dict:
    stream = io.BytesIO()
    Image.new("RGB", IMAGES[image_id], (1, 2, 3)).save(stream, format="JPEG")
    return {"bytes": stream.getvalue(), "path": None}


def write_parquet(folder, name, rows):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data" / name)
    return folder


def jxu124_row(**changes) -> dict:
    annotation, image = instances()["annotations"][0], instances()["images"][0]
    return {
        "sent_ids": [0, 1],
        "file_name": "COCO_train2014_000000581857_16.jpg",
        "ann_id": 1719310,
        "ref_id": 0,
        "image_id": 581857,
        "split": "train",
        "sentences": [{"raw": "THE Lady", "sent": "the lady", "sent_id": 0, "tokens": ["the", "lady"]}],
        "category_id": 1,
        "raw_anns": json.dumps(annotation),
        "raw_image_info": json.dumps(image),
        "raw_sentences": "[]",
        "image_path": f"coco/train2014/{coco_name(581857)}",
        "bbox": [2.0, 3.0, 12.0, 13.0],
        "captions": ["the lady"],
        "global_image_id": "coco.581857",
        "anns_id": "refcoco.1719310",
        **changes,
    }


def lmms_row(**changes) -> dict:
    return {
        "question_id": "469306",
        "image": stored_image(),
        "question": "Please carefully observe the area circled in the image.",
        "answer": ["the lady", "left woman"],
        "segmentation": [float(value) for value in LEFT_SQUARE],
        "bbox": [2.0, 3.0, 10.0, 10.0],
        "iscrowd": 0,
        "file_name": "COCO_train2014_000000581857_16.jpg",
        **changes,
    }


def write_array(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, mask)
    return path


def rectangle(height: int, width: int, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """A mask, (height, width) bool, of a rectangle without its right and bottom edge."""
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def rows_of(benchmark, images: Path | None = None, **settings) -> list[dict]:
    """The rows of a raw benchmark; one that cannot be made fails."""
    maker = RowMaker(ImageFolder(images) if images is not None else None, **settings)
    rows = []
    for item in benchmark.references:
        if isinstance(item, BadRecord):
            raise item
        rows.append(maker.row(item))
    return rows


def bad_records(benchmark, images: Path | None = None) -> list[str]:
    """What is said of the records that cannot be used."""
    maker, found = RowMaker(ImageFolder(images) if images is not None else None), []
    for item in benchmark.references:
        try:
            if isinstance(item, BadRecord):
                raise item
            maker.row(item)
        except BadRecord as bad:
            found.append(f"{item.index}: {bad.reason}")
    return found
