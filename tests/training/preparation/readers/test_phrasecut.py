# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""PhraseCut, field by field against values worked by hand."""

import json

import pytest

from ssp_sam.training.data.masks import decode
from ssp_sam.training.data.prepared import FEATURES, decode_masks
from ssp_sam.training.preparation.readers.phrasecut import read_phrasecut
from ssp_sam.training.preparation.readers.records import PreparationError
from tests.helpers.raw_benchmarks import bad_records, phrasecut_task, rectangle, rows_of, write_image, write_phrasecut


def test_every_field(tmp_path):
    (row,) = rows_of(read_phrasecut(write_phrasecut(tmp_path)), tmp_path)
    assert set(row) == set(FEATURES)
    assert row["image"]["path"].endswith("VG_100K_2/2347567.jpg") and row["image_id"] == "2347567"
    assert row["size_hw"] == [30, 40] and row["ref_id"] == "2347567__1043_1047" and row["split"] == "miniv"
    assert row["ann_ids"] == ["1043", "1047"] and row["category"] == "chairs"
    assert row["expressions"] == ["wooden chairs"] and row["no_target"] is False and row["source"] == "phrasecut"
    assert row["licence"].startswith("image: CC BY 4.0")
    first, second = (decode(mask) for mask in row["masks"])
    assert (first == rectangle(30, 40, 2, 3, 12, 13)).all()
    assert (second == (rectangle(30, 40, 20, 0, 22, 2) | rectangle(30, 40, 24, 18, 26, 20))).all()
    assert row["box_xyxy"] == [2, 0, 26, 20]  # the hull of boxes given as x, y, width, height
    assert decode_masks(row).sum() == 100 + 8


def test_the_rule_of_its_own_evaluator_draws_the_outline_too(tmp_path):
    (row,) = rows_of(read_phrasecut(write_phrasecut(tmp_path)), tmp_path, mask_rule="phrasecut")
    assert (decode(row["masks"][0]) == rectangle(30, 40, 2, 3, 13, 14)).all()


def test_all_splits_that_are_there_are_read_each_under_its_name(tmp_path):
    tasks = {name: [phrasecut_task(task_id=name)] for name in ("train", "val", "test", "miniv")}
    root = write_phrasecut(tmp_path, **tasks)
    assert [row["split"] for row in rows_of(read_phrasecut(root), tmp_path)] == ["train", "val", "test", "miniv"]
    assert [row["ref_id"] for row in rows_of(read_phrasecut(root, splits=["val"]), tmp_path)] == ["val"]


def test_sizes_may_be_missing_and_the_first_folder_of_visual_genome_is_searched(tmp_path):
    root = write_phrasecut(tmp_path / "annotations")
    (root / "image_data_split3000.json").unlink()
    write_image(tmp_path / "images" / "VG_100K" / "2347567.jpg", (40, 30))
    (row,) = rows_of(read_phrasecut(root), tmp_path / "images")
    assert row["size_hw"] == [30, 40] and row["image"]["path"].endswith("VG_100K/2347567.jpg")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"instance_boxes": [[2, 3, 10, 10]]}, "2 instances and 1 boxes"),
        ({"Polygons": [], "instance_boxes": []}, "0 instances and 0 boxes"),
        ({"Polygons": [[[[1, 2, 3]]], [[[1, 2]]]]}, "a list of [x, y]"),
        ({"Polygons": [[[[9000, 2], [9001, 3], [9000, 9]]], [[[1, 2], [3, 4], [5, 6]]]]}, "far outside the image"),
        ({"phrase": None}, "'phrase' must be text"),
        ({"phrase": " "}, "no sentence has words"),
        ({"image_id": 5}, "the image 'VG_100K/5.jpg' is not in"),
    ],
)
def test_a_task_that_cannot_be_used_is_named_with_its_index(tmp_path, changes, reason):
    root = write_phrasecut(tmp_path, miniv=[phrasecut_task(), phrasecut_task(**changes)])
    (found,) = bad_records(read_phrasecut(root), tmp_path)
    assert found.startswith("1: ") and reason in found


def test_a_size_that_the_image_has_not_is_named(tmp_path):
    root = write_phrasecut(tmp_path)
    (root / "image_data_split3000.json").write_text(json.dumps([{"image_id": 2347567, "width": 50, "height": 30}]))
    assert "the annotation says 30 x 50" in bad_records(read_phrasecut(root), tmp_path)[0]


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(PreparationError, match=r"no refer_<split>\.json"):
        read_phrasecut(tmp_path)
    root = write_phrasecut(tmp_path)
    with pytest.raises(PreparationError, match=r"no refer_train\.json"):
        read_phrasecut(root, splits=["train"])
    (root / "refer_miniv.json").write_text("[{")
    with pytest.raises(PreparationError, match=r"refer_miniv\.json.*damaged"):
        rows_of(read_phrasecut(root), tmp_path)
