# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
One small dataset in every format of custom datasets, laid out as the tools' own exports are.

The image `0001.jpg`, for training, has a cup on the left, another on the right and a plate; `0002.jpg`, for validation,
has a cup. A fork is in neither.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from ssp_sam.training.data import masks as run_lengths

WIDTH, HEIGHT = 64, 48
CLASSES = ["cup", "fork", "plate"]
LEFT, RIGHT, PLATE = (5, 10, 15, 20), (40, 10, 52, 22), (20, 30, 30, 40)  # left, top, right, bottom
SCENE = {"0001": [("cup", LEFT), ("cup", RIGHT), ("plate", PLATE)], "0002": [("cup", LEFT)]}
SPLITS = {"0001": "train", "0002": "val"}
# What is said of the two images, and the pixels that are meant.
SAID = {
    "the left cup": 100,
    "the right cup": 144,
    "all cups": 244,
    "the plate": 100,
    "the cup": 100,
}


def photograph(path: Path, seed: int = 0) -> Path:
    """An image of noise, so that no two are copies of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def corners(box) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def filled(box) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def png(array, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array, **options).save(stream, "PNG")
    return stream.getvalue()


def coco_content(names: dict[str, str], first_id: int, categories: list[dict], segment=lambda box: [corners(box)]):
    """A file in the style of COCO of some of the images, by their file names."""
    numbers = {category["name"]: category["id"] for category in categories}
    images, annotations = [], []
    for stem, name in names.items():
        images.append({"id": first_id + len(images), "file_name": name, "width": WIDTH, "height": HEIGHT})
        for kind, box in SCENE[stem]:
            left, top, right, bottom = box
            annotations.append(
                {
                    "id": first_id + len(annotations),
                    "image_id": images[-1]["id"],
                    "category_id": numbers[kind],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "segmentation": segment(box),
                    "iscrowd": 0,
                }
            )
    return {"info": {"year": "2026"}, "licenses": [], "categories": categories, "images": images} | {
        "annotations": annotations
    }


def coco_of_roboflow(root: Path) -> Path:
    """A folder per split with the file and the images; ids from 0, a category of all categories."""
    categories = [{"id": 0, "name": "things", "supercategory": "none"}]
    categories += [{"id": 1 + index, "name": name, "supercategory": "things"} for index, name in enumerate(CLASSES)]
    for stem, folder in (("0001", "train"), ("0002", "valid")):
        name = f"{stem}_jpg.rf.0a1b2c3d.jpg"
        photograph(root / folder / name, int(stem))
        write(root / folder / "_annotations.coco.json", coco_content({stem: name}, 0, categories))
    write(root / "README.roboflow.txt", "things\n======\n\nExported via roboflow.com\n")
    return root


def coco_of_cvat(root: Path) -> Path:
    """A file per subset in `annotations`; masks as lists of run lengths, attributes, a file of another task."""
    categories = [{"id": 1 + index, "name": name, "supercategory": ""} for index, name in enumerate(CLASSES)]

    def segment(box):
        return run_lengths.uncompressed(run_lengths.encode(filled(box)))

    for stem, subset in (("0001", "Train"), ("0002", "Validation")):
        photograph(root / "images" / subset / f"{stem}.jpg", int(stem))
        content = coco_content({stem: f"{subset}/{stem}.jpg"}, 1, categories, segment)
        for record in content["annotations"]:
            record["attributes"] = {"occluded": False, "rotation": 0.0}
        write(root / "annotations" / f"instances_{subset}.json", content)
        write(root / "annotations" / f"person_keypoints_{subset}.json", content)
    return root


def coco_in_one_file(root: Path) -> Path:
    """One file with compressed run lengths, whose images name their split."""
    content = coco_content(
        {stem: f"photos/{stem}.jpg" for stem in SCENE},
        7,
        [{"id": index, "name": name} for index, name in enumerate(CLASSES)],
        lambda box: run_lengths.encode(filled(box)),
    )
    for image, stem in zip(content["images"], SCENE):
        image["split"] = SPLITS[stem]
        photograph(root / "photos" / f"{stem}.jpg", int(stem))
    write(root / "instances.json", content)
    return root


def labelme(root: Path) -> Path:
    """A file per image: a polygon, a rectangle, two polygons of a group; and a mask. Paths have backslashes."""

    def shape(label, points, kind="polygon", **fields):
        empty = {"group_id": None, "description": "", "flags": {}, "mask": None}
        return {"label": label, "points": points, "shape_type": kind, **empty, **fields}

    halves = [corners((20, 30, 25, 40)), corners((25, 30, 30, 40))]
    first = [
        shape("cup", np.reshape(corners(LEFT), (-1, 2)).tolist()),
        shape("cup", [[52.0, 22.0], [40.0, 10.0]], "rectangle"),
        *(shape("plate", np.reshape(half, (-1, 2)).tolist(), group_id=1) for half in halves),
        shape("fork", [[1, 1], [9, 9]], "line"),
    ]
    mask = base64.b64encode(png(np.full((10, 10), 255, dtype=np.uint8))).decode()
    second = [shape("cup", [[5, 10], [14, 19]], "mask", mask=mask)]
    for stem, shapes in (("0001", first), ("0002", second)):
        photograph(root / "images" / SPLITS[stem] / f"{stem}.jpg", int(stem))
        write(
            root / "annotations" / SPLITS[stem] / f"{stem}.json",
            {"version": "5.5.0", "flags": {}, "shapes": shapes}
            | {"imagePath": f"..\\..\\images\\{SPLITS[stem]}\\{stem}.jpg", "imageData": None}
            | {"imageHeight": HEIGHT, "imageWidth": WIDTH},
        )
    return root


def yolo_lines(stem: str) -> str:
    lines = []
    for kind, box in SCENE[stem]:
        fractions = np.reshape(corners(box), (-1, 2)) / (WIDTH, HEIGHT)
        lines.append(f"{CLASSES.index(kind)} {' '.join(f'{value:.6f}' for value in fractions.flat)}\n")
    return "".join(lines)


def yolo_of_ultralytics(root: Path) -> Path:
    """`images` and `labels` by split, names by number; an image without objects has an empty file."""
    write(
        root / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cup\n  1: fork\n  2: plate\n"
    )
    for stem, split in SPLITS.items():
        photograph(root / "images" / split / f"{stem}.jpg", int(stem))
        write(root / "labels" / split / f"{stem}.txt", yolo_lines(stem))
    return root


def yolo_of_roboflow(root: Path) -> Path:
    """`images` and `labels` in a folder per split, names in a list."""
    write(
        root / "data.yaml", "train: ../train/images\nval: ../valid/images\n\nnc: 3\nnames: ['cup', 'fork', 'plate']\n"
    )
    for stem, split in (("0001", "train"), ("0002", "valid")):
        photograph(root / split / "images" / f"{stem}_jpg.rf.0a1b.jpg", int(stem))
        write(root / split / "labels" / f"{stem}_jpg.rf.0a1b.txt", yolo_lines(stem))
    return root


def yolo_of_label_studio(root: Path) -> Path:
    """`classes.txt`, and labels and images without folders of splits."""
    write(root / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    write(root / "notes.json", {"categories": [{"id": 0, "name": "cup"}], "info": {"year": 2026}})
    for stem in SCENE:
        photograph(root / "images" / f"0a1b2c3d-{stem}.jpg", int(stem))
        write(root / "labels" / f"0a1b2c3d-{stem}.txt", yolo_lines(stem))
    return root


def cvat_runs(box) -> str:
    """Run lengths of a mask that fills its box, with a row of nothing above it."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return f'left="{left}" top="{top - 1}" width="{width}" height="{height + 1}" rle="{width}, {width * height}"'


def cvat(root: Path) -> Path:
    """A polygon, a mask, two polygons of a group; a tag and a point are no objects."""
    pairs = [
        ";".join(f"{x:.2f},{y:.2f}" for x, y in np.reshape(corners(box), (-1, 2)))
        for box in (LEFT, (20, 30, 25, 40), (25, 30, 30, 40))
    ]
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in CLASSES)
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    shape = 'source="manual" occluded="0" z_order="0"'
    write(
        root / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>table</name><labels>{labels}</labels></task></meta>
  <image id="0" name="0001.jpg" subset="Train" {size}>
    <tag label="plate" source="manual"></tag>
    <polygon label="cup" {shape} points="{pairs[0]}"></polygon>
    <mask label="cup" {shape} {cvat_runs(RIGHT)}></mask>
    <polygon label="plate" {shape} points="{pairs[1]}" group_id="3"></polygon>
    <polygon label="plate" {shape} points="{pairs[2]}" group_id="3"></polygon>
    <points label="cup" {shape} points="1.0,1.0"></points>
  </image>
  <image id="1" name="0002.jpg" subset="Validation" {size}>
    <polygon label="cup" {shape} points="{pairs[0]}"></polygon>
  </image>
  <image id="2" name="0003.jpg" {size}></image>
</annotations>
""",
    )
    for stem, folder in (("0001", "Train"), ("0002", "Validation"), ("0003", "")):
        photograph(root / "images" / folder / f"{stem}.jpg", int(stem))
    return root


PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def index_maps(stem: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of classes, from 1 on, and of objects; the edge of a cup is 255, as in Pascal VOC."""
    classes, objects = np.zeros((2, HEIGHT, WIDTH), dtype=np.uint8)
    for number, (kind, box) in enumerate(SCENE[stem]):
        inside = filled(box) > 0
        classes[inside], objects[inside] = 1 + CLASSES.index(kind), 1 + number
    classes[9, 5:15] = objects[9, 5:15] = 255
    return classes, objects


def save_indexed(path: Path, values: np.ndarray):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    image.putpalette(PALETTE)
    image.save(path)


def masks_of_voc(root: Path) -> Path:
    """Pascal VOC: indices with a palette, objects beside classes, lists of splits, names as labelme writes them."""
    write(root / "class_names.txt", "".join(f"{name}\n" for name in ["_background_", *CLASSES]))
    for stem, split in SPLITS.items():
        classes, objects = index_maps(stem)
        save_indexed(root / "SegmentationClass" / f"{stem}.png", classes)
        save_indexed(root / "SegmentationObject" / f"{stem}.png", objects)
        photograph(root / "JPEGImages" / f"{stem}.jpg", int(stem))
        write(root / "ImageSets" / "Segmentation" / f"{split}.txt", f"{stem}\n")
    return root


def masks_of_cvat(root: Path) -> Path:
    """CVAT's "Segmentation mask": colours, whose names are in `labelmap.txt`."""
    table = np.array([[0, 0, 0], [250, 50, 83], [61, 61, 245], [52, 209, 183]], dtype=np.uint8)
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(["background", *CLASSES], table)]
    write(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    for stem, split in SPLITS.items():
        classes, objects = (np.where(values == 255, 0, values) for values in index_maps(stem))
        for name, values in (("SegmentationClass", classes), ("SegmentationObject", objects)):
            path = root / name / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(table[values]).save(path)
        photograph(root / "JPEGImages" / f"{stem}.jpg", int(stem))
        write(root / "ImageSets" / "Segmentation" / f"{split}.txt", f"{stem}\n")
    return root


def masks_of_roboflow(root: Path) -> Path:
    """A mask beside each image, and a table of values in each folder; nothing tells objects apart."""
    for stem, split in (("0001", "train"), ("0002", "valid")):
        photograph(root / split / f"{stem}.jpg", int(stem))
        classes = np.where(index_maps(stem)[0] == 255, 0, index_maps(stem)[0])
        Image.fromarray(classes).save(root / split / f"{stem}_mask.png")
        lines = ["Pixel Value, Class", "0, background", *(f"{1 + i}, {name}" for i, name in enumerate(CLASSES))]
        write(root / split / "_classes.csv", "\n".join(lines))
    return root


def references() -> list[tuple[str, str, list[np.ndarray]]]:
    """Image, sentence and masks of what the other formats have."""
    cups = [filled(LEFT), filled(RIGHT)]
    return [
        ("0001", "the left cup", cups[:1]),
        ("0001", "the right cup", cups[1:]),
        ("0001", "all cups", cups),
        ("0001", "the plate", [filled(PLATE)]),
        ("0001", "the fork", []),
        ("0002", "the cup", cups[:1]),
    ]


def metadata(root: Path) -> Path:
    """Lines of references with mask files, among them one of transparency and one array."""
    lines = []
    for stem in SCENE:
        photograph(root / "images" / f"{stem}.jpg", int(stem))
    (root / "masks").mkdir()
    for stem, sentence, masks in references():
        names = [f"{sentence.replace(' ', '_')}_{index}.png" for index in range(len(masks))]
        for name, mask in zip(names, masks):
            Image.fromarray(mask * 255).save(root / "masks" / name)
        record = {"image": f"images/{stem}.jpg", "mask": names or None, "expression": sentence, "split": SPLITS[stem]}
        lines.append(json.dumps(record))
    write(root / "metadata.jsonl", "\n".join(lines))
    return root


def table(root: Path) -> Path:
    """Parquet as the Hub has it: images and masks in the rows, in a file per split."""
    (root / "data").mkdir(parents=True)
    for split in ("train", "val"):
        rows = []
        for stem, sentence, masks in references():
            if SPLITS[stem] == split:
                image = photograph(root / f"{stem}.jpg", int(stem)).read_bytes()
                stored = [{"bytes": png(mask * 255), "path": None} for mask in masks]
                rows.append({"photo": {"bytes": image, "path": "image.jpg"}, "masks": stored, "text": [sentence]})
        parquet.write_table(pyarrow.Table.from_pylist(rows), root / "data" / f"{split}-00000-of-00001.parquet")
    for stem in SCENE:
        (root / f"{stem}.jpg").unlink()
    return root


COLUMNS = {"image": "photo", "mask": "masks", "expressions": "text"}
# Name of the writer: the format, and whether objects are told apart and splits are told.
DATASETS = {
    coco_of_roboflow: "coco",
    coco_of_cvat: "coco",
    coco_in_one_file: "coco",
    labelme: "labelme",
    yolo_of_ultralytics: "yolo",
    yolo_of_roboflow: "yolo",
    yolo_of_label_studio: "yolo",
    cvat: "cvat",
    masks_of_voc: "masks",
    masks_of_cvat: "masks",
    masks_of_roboflow: "masks",
    metadata: "metadata",
    table: "table",
}
