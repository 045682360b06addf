# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
What people have: a table of annotation files and image folders as tools and hands leave them.

Each case is either read as the one thing it can mean, or refused with a sentence that names record and reason; what is
left out is counted.
"""

import gzip
import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.preparation.readers.custom.formats import open_custom
from ssp_sam.training.preparation.readers.images import ImageFolder
from ssp_sam.training.preparation.readers.records import BadRecord, PreparationError
from ssp_sam.training.preparation.rows import RowMaker
from tests.helpers.raw_benchmarks import rectangle, write_image

WIDTH, HEIGHT = 40, 30
SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]  # 100 pixels
OTHER = [20, 5, 25, 5, 25, 15, 20, 15]  # 50 pixels
MASK = rectangle(HEIGHT, WIDTH, 2, 3, 12, 13)


def opened(benchmark, root):
    """Rows, what is said of bad records, and what was counted."""
    maker, rows, bad = RowMaker(ImageFolder(root)), [], []
    for item in benchmark.references:
        try:
            if isinstance(item, BadRecord):
                raise item
            rows.append(maker.row(item))
        except BadRecord as error:
            bad.append(f"{getattr(item, 'index', error.index)}: {error.reason}")
    return rows, bad, {name: count for name, count in (benchmark.notes + maker.notes).items() if count}


# ---- Files in the style of COCO ------------------------------------------------------------------------------------


def image(number=1, name="a.png", **fields):
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, **fields}


def annotation(number=1, image_id=1, words="the square", polygon=SQUARE, **fields):
    left, top = min(polygon[::2]), min(polygon[1::2])
    box = [left, top, max(polygon[::2]) - left, max(polygon[1::2]) - top]
    record = {"id": number, "image_id": image_id, "category_id": 1, "segmentation": [polygon], "bbox": box}
    return {**record, **({"expression": words} if words is not None else {}), **fields}


def file(images=None, annotations=None, **members):
    images = [image()] if images is None else images
    annotations = [annotation()] if annotations is None else annotations
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}], **members}


def areas(*expected):
    """The rows have masks of so many pixels, in order."""
    return lambda rows: [int(decode_masks(row).sum()) for row in rows] == list(expected)


def ids(*expected):
    return lambda rows: [row["image_id"] for row in rows] == list(expected)


# Name: content, image files, what the rows must be (a function) or a refusal (text), what is counted.
COCO_CASES = {
    "as it should be": (file(), ["a.png"], areas(100), {}),
    # Identity of images.
    "one name in two folders": (
        file([image(1, "cam1/a.png"), image(2, "cam2/a.png")], [annotation(1, 1), annotation(2, 2)]),
        ["cam1/a.png", "cam2/a.png"],
        ids("cam1/a.png", "cam2/a.png"),
        {},
    ),
    "a name that could be two files": (
        file(),
        ["cam1/a.png", "cam2/a.png"],
        "0: several images could be 'a.png': 'cam1/a.png', 'cam2/a.png'",
        {},
    ),
    "a folder that is another": (
        file([image(1, "cam1/a.png")]),
        ["cam2/a.png"],
        "0: the image 'cam1/a.png' is not in .*, where that name has only 'cam2/a.png'",
        {},
    ),
    "folders that were dropped": (file([image(1, "cam1/a.png")]), ["a.png"], ids("a.png"), {}),
    "two images in dropped folders": (
        file([image(1, "cam1/a.png"), image(2, "cam2/a.png")], [annotation(1, 1), annotation(2, 2)]),
        ["a.png"],
        "1: 'cam1/a.png' and 'cam2/a.png' are both found as 'a.png' in .*: which of them is it",
        {},
    ),
    "two ids of one file": (
        file([image(1), image(2)], [annotation(1, 1), annotation(2, 2, polygon=OTHER)]),
        ["a.png"],
        ids("a.png", "a.png"),
        {},
    ),
    # Identity of records.
    "an image listed twice": (file([image(), image()]), ["a.png"], areas(100), {"images_listed_twice": 1}),
    "an image id with two names": (
        file([image(1, "a.png"), image(1, "b.png")]),
        ["a.png", "b.png"],
        "0: the id 1 stands 2 times in images of own.json: in record 0 with 'file_name' 'a.png', in 1 with 'b.png'",
        {},
    ),
    "every annotation id is 0": (
        file(annotations=[annotation(0), annotation(0, words="the other", polygon=OTHER)]),
        ["a.png"],
        areas(100, 50),
        {"references_renamed": 1},
    ),
    "no annotation ids": (
        file(annotations=[annotation(None), annotation(None, words="the other", polygon=OTHER)]),
        ["a.png"],
        areas(100, 50),
        {},
    ),
    "an annotation listed twice": (
        file(annotations=[annotation(), annotation()]),
        ["a.png"],
        areas(100),
        {"annotations_listed_twice": 1},
    ),
    "exports put behind each other": (
        file(
            [image(1), image(2, "b.png")],
            [annotation(1, 1, None), annotation(1, 2, None, OTHER)],
            references=[
                {"image_id": 1, "ann_ids": [1], "expressions": ["the first"]},
                {"image_id": 2, "ann_ids": [1], "expressions": ["the second"]},
            ],
        ),
        ["a.png", "b.png"],
        areas(100, 50),
        {},
    ),
    "an annotation id that stands twice in one image": (
        file(
            annotations=[annotation(7, words=None), annotation(7, words=None, polygon=OTHER)],
            references=[{"image_id": 1, "ann_ids": [7], "expressions": ["which"]}],
        ),
        ["a.png"],
        "0: the id 7 stands 2 times in annotations of own.json: in record 0 with 'segmentation' .*, in 1 with",
        {},
    ),
    "a reference said twice": (
        file(references=[{"image_id": 1, "ann_ids": [1], "expressions": ["it"]}] * 2),
        ["a.png"],
        areas(100),
        {"references_listed_twice": 1, "annotations_with_sentences_beside_references": 1},
    ),
    "a category id with two names": (
        file(categories=[{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}]),
        ["a.png"],
        lambda rows: rows[0]["category"] == "",
        {"categories_of_an_unclear_id": 1},
    ),
    "annotations without sentences": (
        file(annotations=[annotation(), annotation(2, words=None), annotation(3, words="")]),
        ["a.png"],
        areas(100),
        {"annotations_without_sentences": 2},
    ),
    "a record without an id": (
        file([{"file_name": "a.png"}, image()]),
        ["a.png"],
        "0: it has no id; there are file_name",
        {},
    ),
    # Spellings.
    "ids as text and as fractions": (
        file([image("1"), image(2.0, "b.png")], [annotation("x", 1), annotation(1.0, "2", polygon=OTHER)]),
        ["a.png", "b.png"],
        areas(100, 50),
        {},
    ),
    "sizes as text and as fractions": (file([image(width="40", height=30.0)]), ["a.png"], areas(100), {}),
    "a size that is no number": (
        file([image(width="wide")]),
        ["a.png"],
        "0: the field 'width' must be a whole number, got 'wide'",
        {},
    ),
    "a size in another script": (file([image(width="²")]), ["a.png"], "0: the field 'width' must be a whole", {}),
    "annotations by their ids": (
        file({"1": {"file_name": "a.png"}}, {"5": annotation(None) | {"image_id": 1}}),
        ["a.png"],
        areas(100),
        {},
    ),
    "categories as names by id": (
        file(categories={"1": "box"}),
        ["a.png"],
        lambda rows: rows[0]["category"] == "box",
        {},
    ),
    "an address as LVIS has it": (
        file([{"id": 1, "coco_url": "http://images.cocodataset.org/val2017/a.png"}]),
        ["val2017/a.png"],
        ids("val2017/a.png"),
        {},
    ),
    "a path of Windows": (file([image(1, r"C:\data\set\a.png")]), ["set/a.png"], ids("set/a.png"), {}),
    "a path of Label Studio's uploads": (
        file([image(1, r"..\..\media\upload\1\0a1b2c3d-a.png")]),
        ["a.png"],
        ids("a.png"),
        {},
    ),
    "a path of Label Studio's local files": (
        file([image(1, "/data/local-files/?d=set%20one/a.png")]),
        ["set one/a.png"],
        ids("set one/a.png"),
        {},
    ),
    "a name as in an address": (file([image(1, "my%20photo.png")]), ["my photo.png"], ids("my photo.png"), {}),
    "the other form of Unicode": (
        file([image(1, unicodedata.normalize("NFC", "é.png"))]),
        [unicodedata.normalize("NFD", "é.png")],
        ids(unicodedata.normalize("NFD", "é.png")),
        {},
    ),
    "an ending in another case": (file([image(1, "a.png")]), ["a.PNG"], ids("a.PNG"), {}),
    "a path with steps back": (file([image(1, "set/../a.png")]), ["a.png"], ids("a.png"), {}),
    "a path out of the folder": (
        file([image(1, "../../etc/passwd")]),
        ["a.png"],
        "0: the image '../../etc/passwd' is not in",
        {},
    ),
    "a name longer than a file's can be": (
        file([image(1, "x" * 5000 + ".png")]),
        ["a.png"],
        "0: the image 'xxx.*… is not in",
        {},
    ),
    "half a character in a name": (
        file([image(1, "\ud800.png")]),
        ["a.png"],
        "0: the image '.ud800.png' is not in",
        {},
    ),
    "half a character in a sentence": (
        file(annotations=[annotation(words="the \udcff square")]),
        ["a.png"],
        "0: a sentence is no valid Unicode: character 4 is",
        {},
    ),
    "captions": (
        file(annotations=[annotation(words=None, caption="the square")]),
        ["a.png"],
        lambda rows: rows[0]["expressions"] == ["the square"],
        {},
    ),
    "sentences among attributes": (
        file(annotations=[annotation(words=None, attributes={"expression": "the square", "occluded": False})]),
        ["a.png"],
        lambda rows: rows[0]["expressions"] == ["the square"],
        {},
    ),
    "sentences among named attributes": (
        file(annotations=[annotation(words=None, attributes=[{"name": "caption", "value": "the square"}])]),
        ["a.png"],
        lambda rows: rows[0]["expressions"] == ["the square"],
        {},
    ),
    "two fields that may be the sentences": (
        file(annotations=[annotation(words=None, caption="one", sentences=["two"])]),
        ["a.png"],
        "0: it has sentences under 'sentences' and under 'caption'",
        {},
    ),
    "sentences that cannot be seen": (
        file(annotations=[annotation(words=["\u200b", "the square"])]),
        ["a.png"],
        lambda rows: rows[0]["expressions"] == ["the square"],
        {"empty_expressions": 1},
    ),
    # Labels that cannot be right.
    "a flat polygon": (file(annotations=[annotation(segmentation=SQUARE)]), ["a.png"], areas(100), {}),
    "a polygon in fractions": (
        file(annotations=[annotation(segmentation=[[0.05, 0.1, 0.3, 0.1, 0.3, 0.4]], bbox=None)]),
        ["a.png"],
        "0: annotation 1: its coordinates lie between 0.05 and 0.4: fractions of the image",
        {},
    ),
    "a box in fractions": (
        file(annotations=[annotation(bbox=[0.1, 0.1, 0.5, 0.5])]),
        ["a.png"],
        r"0: the box \[.*\]: its coordinates lie between 0.1 and 0.6",
        {},
    ),
    "a box by its corners": (
        file(annotations=[annotation(polygon=OTHER, bbox=[20, 5, 25, 15])]),
        ["a.png"],
        r"0: the box \[20, 5, 25, 15\] fits its mask only as left, top, right, bottom",
        {},
    ),
    "a box alone": (
        file(annotations=[annotation(segmentation=[])]),
        ["a.png"],
        lambda rows: rows[0]["masks"] == [] and rows[0]["box_xyxy"] == [2, 3, 12, 13] and not rows[0]["no_target"],
        {"targets_with_a_box_alone": 1},
    ),
    "neither a box nor a segmentation": (
        file(annotations=[annotation(segmentation=[], bbox=None)]),
        ["a.png"],
        "0: annotation 1 has neither a segmentation nor a box",
        {},
    ),
    "run lengths of another size": (
        file(annotations=[annotation(segmentation={"size": [40, 30], "counts": [1200]})]),
        ["a.png"],
        r"0: annotation 1: its mask has size \[40, 30\], the image \[30, 40\]",
        {},
    ),
    "an annotation of another image": (
        file(references=[{"image_id": 1, "ann_ids": [1], "expressions": ["it"]}], annotations=[annotation(image_id=9)]),
        ["a.png"],
        "0: annotation 1 belongs to image 9, the reference to 1",
        {},
    ),
    # Records that are anything.
    "lists for ids": (file(annotations=[annotation(image_id=[1])]), ["a.png"], "0: the field 'image_id' must be a", {}),
    "an annotation that is none": (
        file(annotations=[annotation(), 17]),
        ["a.png"],
        "1: expected an object with fields, got 17",
        {},
    ),
    "a number beyond all": (
        file(annotations=[annotation(segmentation=[[1e400, 0, 5, 5, 9, 9]])]),
        ["a.png"],
        "0: annotation 1: it reaches inf, far outside the image",
        {},
    ),
    "a split that is no name": (
        file([image(split={"name": "train"})]),
        ["a.png"],
        lambda rows: rows[0]["split"] == "{'name': 'train'}",  # refused by name when parts are written
        {},
    ),
}


@pytest.mark.parametrize("name", COCO_CASES)
def test_a_file_in_the_style_of_coco(name, tmp_path):
    content, files, expected, counted = COCO_CASES[name]
    for path in files:
        write_image(tmp_path / "images" / path, (WIDTH, HEIGHT))
    (tmp_path / "own.json").write_text(json.dumps(content))
    images = tmp_path / "images"
    rows, bad, notes = opened(open_custom(str(tmp_path / "own.json"), str(images), format="coco"), images)
    notes.pop("masks_touching_the_border", None)
    if isinstance(expected, str):
        assert len(bad) == 1 and len(bad[0]) < 600
        pytest.raises(PreparationError, raises, PreparationError(bad[0])).match(f"^{expected}")
    else:
        assert bad == [] and expected(rows), rows
        assert notes == counted


def raises(error):
    raise error


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_annotation_files_of_every_usual_encoding(tmp_path, encoding, packed):
    write_image(tmp_path / "a.png", (WIDTH, HEIGHT))
    data = json.dumps(file(annotations=[annotation(words="das Würfelchen 女")]), ensure_ascii=False).encode(encoding)
    path = tmp_path / ("own.json.gz" if packed else "own.json")
    path.write_bytes(gzip.compress(data) if packed else data)
    rows, bad, _ = opened(open_custom(str(tmp_path), format="coco"), tmp_path)
    assert bad == [] and rows[0]["expressions"] == ["das Würfelchen 女"]
    line = {"image": "a.png", "mask": None, "expression": "女"}
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode(encoding)
    (tmp_path / "metadata.jsonl").write_bytes(gzip.compress(data) if packed else data)
    rows, bad, _ = opened(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert bad == [] and rows[0]["expressions"] == ["女"]


# ---- Mask files ----------------------------------------------------------------------------------------------------


def rgba(colours, alpha):
    return Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))


COLOURS = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
WHITE, NOTHING = np.full((HEIGHT, WIDTH, 3), 255, np.uint8), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SHOWN = MASK * 255
TWO = MASK.astype(np.uint8) + np.uint8(2) * rectangle(HEIGHT, WIDTH, 20, 5, 30, 20)
SMOOTH = np.clip(255 - 60 * np.hypot(*np.mgrid[-15:15, -20:20] / 4), 0, 255).astype(np.uint8)
SMOOTH[4:26, 8:32] = np.maximum(SMOOTH[4:26, 8:32], 255)


def save_array(path, save, *arrays, **named):
    with open(path, "wb") as stream:
        save(stream, *arrays, **named)


def png_of(array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


# Name: how the file is written, fields beside it, pixels inside or what is said.
MASK_CASES = {
    "white on black": (lambda path: Image.fromarray(SHOWN.astype(np.uint8)).save(path), {}, 100),
    "zeros and ones": (lambda path: Image.fromarray(MASK.astype(np.uint8)).save(path), {}, 100),
    "one colour": (lambda path: Image.fromarray(MASK[..., None] * np.uint8([[[200, 0, 9]]])).save(path), {}, 100),
    "white where visible": (lambda path: rgba(WHITE, SHOWN).save(path), {}, 100),
    "black where visible": (lambda path: rgba(NOTHING, SHOWN).save(path), {}, 100),
    "a cut-out in its colours": (lambda path: rgba(COLOURS, SHOWN).save(path), {}, 100),
    "half transparent": (lambda path: rgba(WHITE, SHOWN // 2).save(path), {}, 100),
    "black and white without transparency": (
        lambda path: rgba(WHITE * MASK[..., None], np.full((HEIGHT, WIDTH), 255)).save(path),
        {},
        100,
    ),
    "colours and transparency at odds": (
        lambda path: rgba(WHITE * MASK[..., None], 255 - SHOWN * (np.arange(WIDTH) < 7)).save(path),
        {},
        "shows one thing by its transparency and another by its colours",
    ),
    "colours that nothing shows": (
        lambda path: rgba(COLOURS, np.zeros((HEIGHT, WIDTH))).save(path),
        {},
        "shows one thing by its transparency and another by its colours",
    ),
    "smoothed edges": (lambda path: Image.fromarray(SMOOTH).save(path), {}, int((SMOOTH > 0).sum())),
    "a map of two objects": (lambda path: Image.fromarray(TWO).save(path), {}, "holds several values, such as 2 and 1"),
    "one object of a map": (lambda path: Image.fromarray(TWO).save(path), {"mask_values": 2}, 150),
    "no object of a map": (
        lambda path: Image.fromarray(TWO).save(path),
        {"mask_values": [7, 8]},
        "none of the mask_values 7 and 8, but 1 and 2; give one that it has, or null as mask",
    ),
    "both objects of a map": (lambda path: Image.fromarray(TWO).save(path), {"mask_values": [1, 2]}, 250),
    "a map in colours": (
        lambda path: Image.fromarray(np.uint8([[0, 0, 0], [200, 0, 0], [0, 200, 0]])[TWO]).save(path),
        {},
        "holds several values, such as #00c800 and #c80000",
    ),
    "a map in 16 bits": (
        lambda path: Image.fromarray(TWO.astype(np.uint16) * 300).save(path),
        {},
        "holds several values, such as 600 and 300",
    ),
    "an array": (lambda path: save_array(path, np.save, MASK[None]), {}, 100),
    "an array of objects": (lambda path: save_array(path, np.save, TWO.astype(np.int32)), {}, "holds several values"),
    "an array of fractions": (
        lambda path: save_array(path, np.save, MASK * 0.7),
        {},
        "must hold whole numbers from 0 on, got 0.7",
    ),
    "an array with -1": (lambda path: save_array(path, np.save, MASK * 1 - 1), {}, "whole numbers from 0 on, got -1"),
    "a packed array": (lambda path: save_array(path, np.savez, mask=MASK), {}, 100),
    "two packed arrays": (lambda path: save_array(path, np.savez, a=MASK, b=MASK), {}, "must hold one array, got a, b"),
    "cut off": (lambda path: path.write_bytes(png_of(COLOURS)[:900]), {}, "cannot be read"),
    "no image": (lambda path: path.write_text("mask"), {}, "cannot be read"),
    "of another size": (
        lambda path: Image.fromarray(SHOWN.T.astype(np.uint8)).save(path),
        {},
        "the image has 30 x 40 pixels .*, its mask '.*' has 40 x 30",
    ),
    "a box with nothing in it": (
        lambda path: Image.fromarray(SHOWN.astype(np.uint8)).save(path),
        {"mask": None, "box": [1, 1, 9, 9]},
        r"it has the box \[1, 1, 9, 9\], but no mask",
    ),
}


@pytest.mark.parametrize("name", MASK_CASES)
def test_a_mask_file(name, tmp_path):
    write, fields, expected = MASK_CASES[name]
    ending = {"an array": ".npy", "packed": ".npz"}.get(
        next((key for key in ("an array", "packed") if key in name), "")
    )
    mask = tmp_path / f"mask{ending or '.png'}"
    write(mask)
    write_image(tmp_path / "photo.png", (WIDTH, HEIGHT))
    line = {"image": "photo.png", "mask": mask.name, "expression": "it", **fields}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
    rows, bad, _ = opened(open_custom(str(tmp_path), format="metadata"), tmp_path)
    if isinstance(expected, str):
        pytest.raises(PreparationError, raises, PreparationError(bad[0])).match(f"^0: .*{expected}")
    else:
        assert bad == [] and int(decode_masks(rows[0]).sum()) == expected
