# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Data of one's own: in the style of COCO, or images with mask files."""

import json

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.preparation.readers.custom.formats import open_custom
from ssp_sam.training.preparation.readers.records import PreparationError
from tests.helpers.raw_benchmarks import (
    bad_records,
    coco_name,
    instances,
    rectangle,
    rows_of,
    sentences,
    write_array,
    write_coco_images,
    write_image,
)

MASK = rectangle(30, 40, 2, 3, 12, 13)


def write_coco(path, **changes):
    content = instances() | changes
    path.write_text(json.dumps(content))
    return path


def own_coco_rows(path, images):
    return rows_of(open_custom(str(path), str(images), format="coco"), images)


def test_sentences_in_annotations_of_coco_style(tmp_path):
    content = instances()
    content["annotations"][0]["expressions"] = ["the lady", "左边的女士"]
    content["annotations"][2] |= {"expression": "bottle", "split": "val"}
    path = write_coco(tmp_path / "own.json", annotations=content["annotations"])
    lady, bottle = own_coco_rows(path, write_coco_images(tmp_path / "images"))
    assert lady["expressions"] == ["the lady", "左边的女士"] and lady["split"] == "train" and lady["source"] == "own"
    assert lady["ref_id"] == "1719310" and lady["category"] == "person" and lady["box_xyxy"] == [2, 3, 12, 13]
    assert (decode_masks(lady) == MASK).all() and lady["image"]["path"].endswith(coco_name(581857))
    assert bottle["split"] == "val" and bottle["expressions"] == ["bottle"] and decode_masks(bottle).sum() == 8


def test_references_of_coco_style_may_mean_several_objects_or_none(tmp_path):
    references = [
        {"image_id": 581857, "ann_ids": [1719310, 1719311], "expressions": ["both"], "ref_id": "r1"},
        {"image_id": 581857, "ann_ids": [], "expressions": ["a giraffe"], "split": "test"},
    ]
    path = write_coco(tmp_path / "own.json", references=references)
    both, none = own_coco_rows(tmp_path, write_coco_images(tmp_path / "images"))
    assert path.name == "own.json" and both["ref_id"] == "r1" and decode_masks(both).sum() == 150
    assert none["no_target"] is True and none["split"] == "test" and none["ref_id"] == "1"


def test_coco_style_without_sentences_says_where_they_go(tmp_path):
    with pytest.raises(PreparationError, match="has no sentences: give annotations a list 'expressions'"):
        list(open_custom(str(write_coco(tmp_path / "own.json")), made_expressions=False).references)
    references = [
        {"image_id": 581857, "ann_ids": [5], "expressions": ["x"]},
        {"image_id": 1, "ann_ids": []} | sentences(0),
    ]
    path = write_coco(tmp_path / "own.json", references=references)
    found = bad_records(open_custom(str(path), str(tmp_path), format="coco"), tmp_path)
    assert "0: own.json has no annotation 5" in found and "1: own.json has no image 1" in found


def write_folder(root, *records) -> None:
    write_image(root / "photo.png", (40, 30))
    Image.fromarray(MASK.astype(np.uint8) * 255).save(root / "mask.png")
    words = {"expression": "a square"}
    lines = [
        json.dumps({"image": "photo.png", "mask": "mask.png"} | ({} if "expressions" in record else words) | record)
        for record in records
    ]
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")


def test_every_field_of_a_folder_with_metadata(tmp_path):
    write_folder(tmp_path, {"expression": "der Würfel", "category": "square", "licence": "CC0"})
    (row,) = rows_of(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert row["image"]["path"].endswith("photo.png") and row["image_id"] == "photo.png" and row["ref_id"] == "0"
    assert row["expressions"] == ["der Würfel"] and row["category"] == "square" and row["licence"] == "CC0"
    assert (decode_masks(row) == MASK).all() and row["ann_ids"] == ["mask.png"] and row["split"] == "train"
    assert row["box_xyxy"] == [2, 3, 12, 13]  # of the mask, since none is given
    assert row["no_target"] is False and row["size_hw"] == [30, 40] and row["source"] == "own"


def test_several_masks_no_mask_and_a_black_mask(tmp_path):
    other = rectangle(30, 40, 30, 20, 35, 25)
    Image.fromarray(other).save(tmp_path / "other.png")
    Image.new("1", (40, 30)).save(tmp_path / "black.png")
    write_folder(
        tmp_path,
        {"mask": ["mask.png", "other.png"], "expressions": ["both squares", "all"], "split": "val"},
        {"mask": None, "expression": "a dragon"},
        {"mask": "black.png", "expression": "a unicorn"},
        {"box": [1, 1, 20, 20]},
    )
    both, none, black, boxed = rows_of(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert len(both["masks"]) == 2 and (decode_masks(both) == (MASK | other)).all() and both["split"] == "val"
    assert both["box_xyxy"] == [2, 3, 35, 25] and both["expressions"] == ["both squares", "all"]
    for row in (none, black):
        assert row["no_target"] is True and row["masks"] == [] and row["box_xyxy"] is None and row["ann_ids"] == []
    assert boxed["box_xyxy"] == [1, 1, 20, 20]


@pytest.mark.parametrize("kind", ["zeros and ones", "palette", "RGBA", "16 bits", "array"])
def test_masks_of_any_lossless_kind(tmp_path, kind):
    write_folder(tmp_path, {"mask": "mask.npy"} if kind == "array" else {})
    values = MASK.astype(np.uint8)
    if kind == "array":
        write_array(tmp_path / "mask.npy", values[..., None])
    elif kind == "palette":
        image = Image.fromarray(values, mode="P")
        image.putpalette([0, 0, 0, 200, 10, 10])
        image.save(tmp_path / "mask.png")
    elif kind == "RGBA":
        Image.fromarray(np.stack([values * 200, values, values, np.full_like(values, 255)], -1)).save(
            tmp_path / "mask.png"
        )
    else:
        Image.fromarray(values if kind == "zeros and ones" else values.astype(np.uint16) * 700).save(
            tmp_path / "mask.png"
        )
    (row,) = rows_of(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert (decode_masks(row) == MASK).all()


def test_a_photograph_turned_by_its_orientation_fits_a_mask_drawn_on_what_viewers_show(tmp_path):
    write_folder(tmp_path, {"image": "phone.jpg"})
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / "phone.jpg", (30, 40), exif=exif)
    (row,) = rows_of(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert row["size_hw"] == [30, 40] and row["image"]["path"].endswith("phone.jpg") and row["image"]["bytes"] is None


@pytest.mark.parametrize(
    "record, reason",
    [
        ({"mask": "missing.png"}, "'missing.png' is not in"),
        ({"mask": "../../etc/passwd"}, "'../../etc/passwd' is not in"),
        ({"mask": 5}, "a file name, a list of them or null"),
        ({"mask": "smeared.jpg"}, "save it as PNG"),
        ({"mask": "small.png"}, "small.png' has 3 x 4"),
        ({"image": "/etc/passwd"}, "the image '/etc/passwd' is not in"),
        ({"image": None}, "'image' must be a file name"),
        ({"expression": None}, "at least one sentence"),
        ({"expression": ["a", 5]}, "a sentence must be text"),
        ({"box": [1, 2, 3]}, "four numbers"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_index(tmp_path, record, reason):
    write_folder(tmp_path, {}, record)
    write_image(tmp_path / "smeared.jpg", (40, 30))
    Image.new("L", (4, 3), 255).save(tmp_path / "small.png")
    (found,) = bad_records(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert found.startswith("1: ") and reason in found


def test_lines_that_are_no_records_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"image"\n17\n{"image": "photo.png", "expression": "x"}\n')
    found = bad_records(open_custom(str(tmp_path), format="metadata"), tmp_path)
    assert "0: the line is no JSON" in found[0] and "1: expected an object" in found[1]
    assert "2: the field 'mask' is missing; null stands for" in found[2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(PreparationError, match="no annotations in .*empty': expected metadata.jsonl"):
        open_custom(str(tmp_path / "empty"), format="metadata")
