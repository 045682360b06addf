# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Copies of the benchmarks on the Hub, from a folder with their parquet files."""

import pytest

from ssp_sam.training.data.masks import encode
from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.preparation.readers.hub_mirrors import read_hub_mirror
from ssp_sam.training.preparation.readers.records import PreparationError
from tests.helpers.raw_benchmarks import (
    bad_records,
    coco_name,
    jxu124_row,
    lmms_row,
    rectangle,
    rows_of,
    stored_image,
    write_coco_images,
    write_parquet,
)


def test_jxu124_has_no_images_and_calls_test_a_test(tmp_path):
    images = write_coco_images(tmp_path / "images")
    folder = tmp_path / "refcoco"
    for split in ("train", "validation", "test", "testB"):
        write_parquet(folder, f"{split}-00000-of-00001-4a1e.parquet", [jxu124_row()])
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A copy\n")
    benchmark = read_hub_mirror(str(folder))
    rows = {row["split"]: row for row in rows_of(benchmark, images)}
    assert sorted(rows) == ["testA", "testB", "train", "val"]
    row = rows["train"]
    assert row["image"]["path"].endswith(coco_name(581857)) and row["image_id"] == "581857"
    assert row["box_xyxy"] == [2, 3, 12, 13] and row["expressions"] == ["the lady"] and row["ann_ids"] == ["1719310"]
    assert (decode_masks(row) == rectangle(30, 40, 2, 3, 12, 13)).all()
    assert row["source"] == "jxu124/refcoco" and row["licence"] == "image: unknown; annotations: cc-by-4.0"


def test_a_copy_in_the_cache_of_the_hub_is_known_by_its_id_and_refcocog_keeps_its_test(tmp_path):
    images = write_coco_images(tmp_path / "images")
    folder = tmp_path / "datasets--jxu124--refcocog" / "snapshots" / "0123abc"
    write_parquet(folder, "test-00000-of-00001.parquet", [jxu124_row()])
    (row,) = rows_of(read_hub_mirror(str(folder)), images)
    assert row["split"] == "test" and row["source"] == "jxu124/refcocog"


def test_lmms_lab_stores_images_flat_polygons_and_repeats_ids(tmp_path):
    folder = write_parquet(tmp_path / "RefCOCO", "val-00000-of-00001.parquet", [lmms_row(), lmms_row(answer=["again"])])
    first, second = rows_of(read_hub_mirror(str(folder)))
    assert first["image"]["bytes"] == stored_image()["bytes"] and first["image"]["path"] == coco_name(581857)
    assert first["image_id"] == "581857" and first["size_hw"] == [30, 40] and first["split"] == "val"
    assert first["expressions"] == ["the lady", "left woman"] and first["box_xyxy"] == [2, 3, 12, 13]
    assert decode_masks(first).sum() == 100 and first["source"] == "lmms-lab/RefCOCO"
    assert [first["ref_id"], second["ref_id"]] == ["469306", "469306#1"]


def test_moondream_has_a_row_per_image_and_run_lengths(tmp_path):
    mask = rectangle(30, 40, 2, 3, 12, 13)
    samples = [
        {"id": 1, "image_id": 581857, "category": "person", "sentences": ["the lady"], "bbox": [2.0, 3.0, 10.0, 10.0]}
        | {"mask": encode(mask)},
        {"id": 2, "image_id": 581857, "category": "dog", "sentences": ["dog", "the dog"], "bbox": [0.0, 0.0, 1.0, 1.0]}
        | {"mask": encode(~mask)},
    ]
    row = {"image": stored_image(), "image_id": 581857, "file_name": coco_name(581857), "samples": samples}
    folder = write_parquet(tmp_path / "anything", "validation-00000-of-00001.parquet", [row])
    lady, dog = rows_of(read_hub_mirror(str(folder)))
    assert (decode_masks(lady) == mask).all() and (decode_masks(dog) == ~mask).all()
    assert dog["category"] == "dog" and dog["split"] == "val" and dog["ref_id"] == "2"
    assert lady["source"] == "moondream/refcoco-m" and lady["image"]["path"] == coco_name(581857)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"raw_anns": "{"}, "'raw_anns' is no JSON"),
        ({"raw_anns": "[]"}, "must hold an object"),
        ({"ref_id": None}, "ref_id"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_index(tmp_path, changes, reason):
    images = write_coco_images(tmp_path / "images")
    folder = write_parquet(tmp_path / "x", "train-00000-of-00001.parquet", [jxu124_row(), jxu124_row(**changes)])
    (found,) = bad_records(read_hub_mirror(str(folder)), images)
    assert found.startswith("1: ") and reason in found


def test_what_is_no_copy_is_refused(tmp_path):
    with pytest.raises(PreparationError, match="no parquet files"):
        read_hub_mirror(str(tmp_path))
    folder = write_parquet(tmp_path / "other", "train-00000-of-00001.parquet", [{"text": "a", "label": 1}])
    with pytest.raises(PreparationError, match="no known copy: it has the columns label, text"):
        read_hub_mirror(str(folder))
    with pytest.raises(PreparationError, match="a folder or an id on the Hub"):
        read_hub_mirror(str(tmp_path / "missing"))
    with pytest.raises(PreparationError, match="cannot fetch 'nobody/nothing' from the Hub"):
        read_hub_mirror("nobody/nothing")
