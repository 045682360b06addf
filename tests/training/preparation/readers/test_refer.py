# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""RefCOCO, RefCOCO+, RefCOCOg, ReferIt and gRefCOCO, field by field against values worked by hand."""

import json

import numpy as np
import pytest

from ssp_sam.training.data.masks import decode, encode
from ssp_sam.training.data.prepared import FEATURES, decode_masks
from ssp_sam.training.preparation.readers.records import PreparationError
from ssp_sam.training.preparation.readers.refer import read_refer
from tests.helpers.raw_benchmarks import (
    LEFT_SQUARE,
    bad_records,
    coco_name,
    instances,
    rectangle,
    refs,
    rows_of,
    sentences,
    write_coco_images,
    write_grefcoco,
    write_image,
    write_refer,
)


@pytest.fixture
def images(tmp_path):
    return write_coco_images(tmp_path / "images")


def test_every_field_of_refcoco(tmp_path, images):
    lady, dog, bottle, people = rows_of(read_refer(write_refer(tmp_path), "refcoco", "unc"), images)
    assert set(lady) == set(FEATURES)
    assert lady["image"] == {"bytes": None, "path": str((images / "train2014" / coco_name(581857)).resolve())}
    assert lady["image_id"] == "581857" and lady["size_hw"] == [30, 40]
    assert lady["ref_id"] == "0" and lady["ann_ids"] == ["1719310"]
    assert lady["category"] == "person" and lady["split"] == "train"
    assert lady["expressions"] == ["the lady with the blue shirt", "señora – 女士"]
    assert lady["masks"] == [encode(rectangle(30, 40, 2, 3, 12, 13))]
    assert lady["box_xyxy"] == [2, 3, 12, 13]  # from x, y, width, height
    assert lady["no_target"] is False and lady["source"] == "refcoco_unc"
    assert lady["licence"] == "image: Attribution-NonCommercial-NoDerivs License; annotations: unknown"
    assert dog["category"] == "dog" and dog["box_xyxy"] == [20, 5, 25, 15] and decode_masks(dog).sum() == 50
    assert bottle["split"] == "testA" and people["split"] == "val" and people["licence"] == "unknown"


def test_an_object_of_two_polygons_is_one_mask(tmp_path, images):
    bottle = rows_of(read_refer(write_refer(tmp_path), "refcoco", "unc"), images)[2]
    assert len(bottle["masks"]) == 1 and bottle["size_hw"] == [40, 30]
    assert (decode_masks(bottle) == (rectangle(40, 30, 0, 0, 2, 2) | rectangle(40, 30, 10, 30, 12, 32))).all()


def test_a_crowd_in_uncompressed_run_lengths_is_decoded(tmp_path, images):
    people = rows_of(read_refer(write_refer(tmp_path), "refcoco", "unc"), images)[3]
    assert (decode_masks(people) == rectangle(40, 30, 0, 0, 2, 4)).all()


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_pickles_of_any_protocol_give_the_same(tmp_path, images, protocol):
    expected = rows_of(read_refer(write_refer(tmp_path / "two"), "refcoco", "unc"), images)
    assert rows_of(read_refer(write_refer(tmp_path / "p", protocol=protocol), "refcoco", "unc"), images) == expected


def test_pickles_of_python_2_give_the_same(tmp_path, images):
    root = write_refer(tmp_path, content=refs()[:1])
    text = "S'{}'\n".format
    sentence = b"(d" + text("sent").encode() + b"S'caf\\xc3\\xa9'\ns" + text("sent_id").encode() + b"I0\ns"
    fields = {"ref_id": b"I0\n", "ann_id": b"L1719310L\n", "image_id": b"I581857\n", "split": b"S'train'\n"}
    body = b"".join(text(name).encode() + value + b"s" for name, value in fields.items())
    pickled = b"(l(d" + body + text("sentences").encode() + b"(l" + sentence + b"asa."
    (root / "refcoco" / "refs(unc).p").write_bytes(pickled)
    (row,) = rows_of(read_refer(root, "refcoco", "unc"), images)
    assert row["expressions"] == ["café"] and row["ann_ids"] == ["1719310"] and row["image_id"] == "581857"


def test_the_image_is_that_of_the_image_id_whatever_the_ref_calls_it(tmp_path, images):
    content = refs()[:1]
    content[0]["file_name"] = coco_name(9)
    (row,) = rows_of(read_refer(write_refer(tmp_path, content=content), "refcoco", "unc"), images)
    assert row["image"]["path"].endswith(coco_name(581857))


def test_the_folder_itself_or_the_one_above_may_be_named_and_splits_chosen(tmp_path, images):
    root = write_refer(tmp_path, "refcocog", "umd")
    for folder in (root, root / "refcocog"):
        rows = rows_of(read_refer(folder, "refcocog", "umd", splits=["val", "testA"]), images)
        assert [row["split"] for row in rows] == ["testA", "val"] and rows[0]["source"] == "refcocog_umd"


def test_images_under_the_names_of_2017_are_found(tmp_path):
    write_image(tmp_path / "coco" / "val2017" / "000000581857.jpg", (40, 30))
    write_image(tmp_path / "coco" / "train2017" / "000000000009.jpg", (30, 40))
    rows = rows_of(read_refer(write_refer(tmp_path), "refcoco", "unc"), tmp_path / "coco")
    assert [row["image"]["path"][-16:] for row in rows[1:3]] == ["000000581857.jpg", "000000000009.jpg"]


@pytest.mark.parametrize("kind", ["a dict", "a list of dicts", "uncompressed"])
def test_run_lengths_of_referit(tmp_path, kind):
    mask = rectangle(30, 40, 5, 6, 9, 20)
    rle = (
        encode(mask) if kind != "uncompressed" else {"size": [30, 40], "counts": [156, 14, 16, 14, 16, 14, 16, 14, 940]}
    )
    content = {
        "images": [{"id": 25, "file_name": "25.jpg", "height": 30, "width": 40}],
        "annotations": [
            {"id": 1, "image_id": 25, "category_id": 1, "bbox": [5, 6, 4, 14], "iscrowd": 0}
            | {"segmentation": [rle] if kind == "a list of dicts" else rle}
        ],
        "categories": [{"id": 1, "name": "sky"}],
    }
    ref = {"ref_id": 7, "ann_id": 1, "category_id": 1, "image_id": 25, "split": "test"} | sentences(0, "sky")
    root = write_refer(tmp_path, "refclef", "berkeley", content=[ref])
    (root / "refclef" / "instances.json").write_text(json.dumps(content))
    write_image(tmp_path / "images" / "saiapr_tc-12" / "00" / "images" / "25.jpg", (40, 30))
    (row,) = rows_of(read_refer(root, "refclef", "berkeley"), tmp_path / "images")
    assert (decode_masks(row) == mask).all() and row["box_xyxy"] == [5, 6, 9, 20]
    assert row["image"]["path"].endswith("saiapr_tc-12/00/images/25.jpg") and row["source"] == "refclef_berkeley"


def test_every_field_of_grefcoco(tmp_path, images):
    both, giraffe, with_crowd, one = rows_of(read_refer(write_grefcoco(tmp_path), "grefcoco", "unc"), images)
    assert both["ann_ids"] == ["1719310", "1719311"] and both["category"] == "person, dog"
    assert [decode(mask).sum() for mask in both["masks"]] == [100, 50] and decode_masks(both).sum() == 150
    assert both["box_xyxy"] == [2, 3, 25, 15] and both["no_target"] is False
    assert both["expressions"] == ["the lady and the dog", "both of them"] and both["source"] == "grefcoco_unc"

    assert giraffe["no_target"] is True and giraffe["masks"] == [] and giraffe["ann_ids"] == []
    assert giraffe["box_xyxy"] is None and giraffe["category"] == "" and not decode_masks(giraffe).any()
    assert giraffe["size_hw"] == [30, 40]

    assert with_crowd["ann_ids"] == ["1719312"] and with_crowd["category"] == "bottle"
    assert one["ann_ids"] == ["1719312"] and one["split"] == "testA" and one["box_xyxy"] == [0, 0, 12, 32]


def broken_ref(**changes) -> list[dict]:
    return [refs()[0], {**refs()[1], **changes}]


def test_references_without_sentences_of_the_published_grefcoco_are_left_out_and_counted(tmp_path, images):
    root = write_grefcoco(tmp_path)
    path = root / "grefcoco" / "grefs(unc).json"
    silent = {"ref_id": 14, "ann_id": [1719310], "category_id": [1], "image_id": 581857, "split": "train"}
    path.write_text(json.dumps([*json.loads(path.read_text()), silent | {"sentences": [], "sent_ids": []}]))
    benchmark = read_refer(root, "grefcoco", "unc")
    assert len(rows_of(benchmark, images)) == 4 and benchmark.notes["references_without_sentences"] == 1


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"ann_id": 5}, "instances.json has no annotation 5"),
        ({"ann_id": [[5]]}, "an id must be"),
        ({"ann_id": [-1, 1719310]}, "nothing, stands beside others"),
        ({"ann_id": -1}, "something is meant in every reference of this benchmark, got -1"),
        ({"ann_id": []}, "something is meant in every reference of this benchmark, got []"),
        ({"image_id": 123}, "belongs to image 581857, the reference to 123"),
        ({"image_id": {}}, "'image_id' must be a whole number or text"),
        ({"split": None}, "'split' must be text"),
        ({"sentences": None}, "at least one sentence"),
        ({"sentences": [{"sent": 5}]}, "a sentence must be text"),
        ({"sentences": [{"sent": "  "}]}, "no sentence has words"),
        ({"ref_id": True}, "'ref_id' must be a whole number or text"),
    ],
)
def test_a_ref_that_cannot_be_used_is_named_with_its_index(tmp_path, images, changes, reason):
    root = write_refer(tmp_path, content=broken_ref(**changes))
    (found,) = bad_records(read_refer(root, "refcoco", "unc"), images)
    assert found.startswith("1: ") and reason in found


@pytest.mark.parametrize("says", [True, "no", 2])
def test_a_ref_that_says_nothing_is_meant_and_means_something_is_refused(tmp_path, images, says):
    root = write_grefcoco(tmp_path)
    path = root / "grefcoco" / "grefs(unc).json"
    first, *others = json.loads(path.read_text())
    path.write_text(json.dumps([{**first, "no_target": says}, *others]))
    (found,) = bad_records(read_refer(root, "grefcoco", "unc"), images)
    assert found == f"0: the field 'no_target' is {says!r}, but its annotation is [1719310, 1719311]"


def test_a_ref_without_a_field_or_that_is_none_is_named(tmp_path, images):
    lacking = {name: value for name, value in refs()[1].items() if name != "image_id"}
    found = bad_records(read_refer(write_refer(tmp_path, content=[refs()[0], lacking, 17]), "refcoco", "unc"), images)
    assert "1: the field 'image_id' is missing; there are ref_id" in found[0]
    assert found[1] == "2: expected an object with fields, got 17"


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"segmentation": [[1e4, 0, 3e4, 0, 5, 9]]}, "far outside the image of 30 x 40"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "three corners"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three corners"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6"]]}, "polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "outside any image"),
        ({"segmentation": [LEFT_SQUARE, 5]}, "polygon"),
        ({"segmentation": []}, "has no segmentation"),
        ({"segmentation": {"size": [30, 40], "counts": [5, 5]}}, "add up to 30 x 40 = 1200"),
        ({"segmentation": {"size": [30, 40], "counts": "Z9"}}, "run lengths"),
        ({"segmentation": {"size": [40, 30], "counts": [600, 600]}}, r"size [40, 30], the image [30, 40]"),
        ({"segmentation": {"counts": [1200]}}, "height and width"),
        ({"bbox": [1, 2, 3]}, "four numbers"),
        ({"bbox": [1, 2, -3, 4]}, "inside out"),
        ({"bbox": [100, 2, 3, 4]}, "lies outside the image of 30 x 40"),
        ({"bbox": [1, 2, 3000, 4]}, "reaches far outside the image"),
        ({"bbox": [float("nan"), 2, 3, 4]}, "four numbers"),
    ],
)
def test_shapes_are_checked_against_the_picture(tmp_path, images, changes, reason):
    root = write_refer(tmp_path, content=refs()[:2])
    content = instances()
    content["annotations"][1] |= changes
    (root / "refcoco" / "instances.json").write_text(json.dumps(content))
    (found,) = bad_records(read_refer(root, "refcoco", "unc"), images)
    assert found.startswith("1: ") and reason in found


def test_polygons_just_over_the_edge_are_cut_off_and_those_without_area_left_out(tmp_path, images):
    root = write_refer(tmp_path, content=refs()[:1])
    content = instances()
    content["annotations"][0]["segmentation"] = [[-3, -3, 5, -3, 5, 5, -3, 5], [9, 9, 10, 10]]
    (root / "refcoco" / "instances.json").write_text(json.dumps(content))
    (row,) = rows_of(read_refer(root, "refcoco", "unc"), images)
    assert (decode_masks(row) == rectangle(30, 40, 0, 0, 5, 5)).all()


@pytest.mark.parametrize(
    "file_name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "C:\\x.jpg", "..\\x.jpg", "\\x"]
)
def test_no_path_leads_out_of_the_folder_of_images(tmp_path, images, file_name):
    write_image(tmp_path / "secret.jpg", (40, 30))
    root = write_refer(tmp_path, content=refs()[:1])
    content = instances()
    content["images"][0]["file_name"] = file_name
    (root / "refcoco" / "instances.json").write_text(json.dumps(content))
    (row,) = rows_of(read_refer(root, "refcoco", "unc"), images)  # by its number, whatever the file calls it
    assert row["image"]["path"].startswith(str(images))


def test_an_image_of_another_size_missing_or_damaged_is_named(tmp_path, images):
    root, name = write_refer(tmp_path, content=refs()[:1]), images / "train2014" / coco_name(581857)
    write_image(name, (41, 30))
    assert "0: the image has 30 x 41 pixels (height x width), the annotation says 30 x 40" in bad_records(
        read_refer(root, "refcoco", "unc"), images
    )
    name.write_bytes(b"not an image")
    assert "could not read an image from" in bad_records(read_refer(root, "refcoco", "unc"), images)[0]
    name.unlink()
    assert f"the image '{coco_name(581857)}' is not in" in bad_records(read_refer(root, "refcoco", "unc"), images)[0]


def test_an_image_deep_in_the_folder_is_found_unless_there_are_two(tmp_path, images):
    root = write_refer(tmp_path, content=refs()[:1])
    write_image(tmp_path / "deep" / "a" / "b" / coco_name(581857), (40, 30))
    (row,) = rows_of(read_refer(root, "refcoco", "unc"), tmp_path / "deep")
    assert row["image"]["path"].endswith(f"a/b/{coco_name(581857)}")
    write_image(tmp_path / "deep" / "c" / coco_name(581857), (40, 30))
    assert "several images could be" in bad_records(read_refer(root, "refcoco", "unc"), tmp_path / "deep")[0]


def test_an_image_turned_by_its_orientation_is_stored_as_its_masks_are_drawn(tmp_path, images):
    import io

    from PIL import Image, ImageOps

    path = images / "train2014" / coco_name(581857)
    left_half = np.zeros((30, 40, 3), dtype=np.uint8)
    left_half[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers turn it by a quarter
    Image.fromarray(left_half).save(path, quality=95, exif=exif)
    (row,) = rows_of(read_refer(write_refer(tmp_path, content=refs()[:1]), "refcoco", "unc"), images)
    assert row["size_hw"] == [30, 40] and row["image"]["path"] == coco_name(581857)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(row["image"]["bytes"])))
    assert shown.size == (40, 30) and np.abs(np.asarray(shown).astype(int) - left_half).max() < 40


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(PreparationError, match="no instances.json.*docs/data.md"):
        read_refer(tmp_path, "refcoco", "unc")
    (tmp_path / "refcoco.zip").write_bytes(b"PK")
    with pytest.raises(PreparationError, match="unpack refcoco.zip first"):
        read_refer(tmp_path, "refcoco", "unc")
    root = write_refer(tmp_path)
    with pytest.raises(PreparationError, match=r"no refs\(google\)\.p.*there are refs\(unc\)\.p"):
        read_refer(root, "refcoco", "google")
    (root / "refcoco" / "instances.json").write_text('{"images": [')
    with pytest.raises(PreparationError, match="instances.json.*damaged"):
        read_refer(root, "refcoco", "unc")
    (root / "refcoco" / "instances.json").write_text('{"images": [{"id": 1}], "categories": []}')
    with pytest.raises(PreparationError, match="no annotation file in the style of COCO: it has no 'annotations'"):
        read_refer(root, "refcoco", "unc")
