# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepared benchmarks, as training and evaluation open them."""

import io
import json

import datasets
import numpy as np
import pytest
from datasets import Dataset, load_dataset
from PIL import Image

from ssp_sam.training.data import prepared
from ssp_sam.training.data.masks import encode
from ssp_sam.training.data.prepared import (
    FEATURES,
    dataset_fingerprint,
    decode_masks,
    load_prepared,
    load_suspicions,
    read_image,
    split_role,
)


def make_row(number: int = 0, **changes) -> dict:
    """An image of 6 x 8 pixels with two objects that overlap in one pixel."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (number, 20, 30)).save(stream, format="PNG")
    masks = np.zeros((2, 6, 8), dtype=bool)
    masks[0, 0:2, 0:2] = masks[1, 1:4, 1:3] = True
    return {
        "image": {"bytes": stream.getvalue(), "path": None},
        "image_id": str(number),
        "size_hw": [6, 8],
        "ref_id": str(number),
        "ann_ids": ["7", "9"],
        "category": "cat, dog",
        "expressions": ["both animals", "die zwei Tiere – 两只动物"],
        "split": "train",
        "masks": [encode(mask) for mask in masks],
        "box_xyxy": [0.0, 0.0, 3.0, 4.0],
        "no_target": False,
        "source": "fixture",
        "licence": "unknown",
        **changes,
    }


def nothing_meant(number: int) -> dict:
    return make_row(number, ann_ids=[], category="", masks=[], box_xyxy=None, no_target=True)


def write_shards(folder, rows, split="train", shards=1):
    """Rows as parquet files in a prepared benchmark's folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        part = Dataset.from_list(
            rows[number::1] if shards == 1 else rows[number * 2 : number * 2 + 2], features=FEATURES
        )
        part.to_parquet(folder / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet")
    return folder


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [make_row(0), nothing_meant(1)]
    loaded = load_prepared(write_shards(tmp_path, rows), "train")
    assert loaded.features == FEATURES
    for row, back in zip(rows, loaded):
        assert {name: back[name] for name in back if name != "image"} == {
            name: row[name] for name in row if name != "image"
        }
    assert loaded[0]["image"].size == (8, 6) and loaded[0]["image"].getpixel((0, 0)) == (0, 20, 30)


def test_the_folder_opens_with_datasets_alone(tmp_path):
    opened = load_dataset(str(write_shards(tmp_path, [make_row(), nothing_meant(1)])))
    assert list(opened) == ["train"] and opened["train"].features == FEATURES


def test_the_truth_is_the_union_of_the_masks():
    mask = decode_masks(make_row())
    assert mask.shape == (6, 8) and mask.dtype == bool
    assert mask.sum() == 4 + 6 - 1 and mask[1, 1] and mask[0, 0] and mask[3, 2] and not mask[0, 2]


def test_nothing_meant_is_an_empty_mask():
    mask = decode_masks(nothing_meant(0))
    assert mask.shape == (6, 8) and not mask.any()


def test_a_target_without_mask_is_not_taken_for_an_empty_one():
    with pytest.raises(ValueError, match="'5'.*box but no mask"):
        decode_masks(make_row(5, masks=[]))


def test_a_mask_of_another_size_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"mask 0 of reference '3' has size \[6, 8\], its image \[8, 6\]"):
        decode_masks(make_row(3, size_hw=[8, 6]))


def test_the_fingerprint_depends_on_the_rows_and_not_on_files_or_images(tmp_path):
    rows = [make_row(number) for number in range(4)]
    whole = dataset_fingerprint(write_shards(tmp_path / "whole", rows))
    assert len(whole) == 16
    assert dataset_fingerprint(write_shards(tmp_path / "halves", rows, shards=2)) == whole
    repainted = [make_row(number, image=make_row(99)["image"]) for number in range(4)]
    assert dataset_fingerprint(write_shards(tmp_path / "repainted", repainted)) == whole
    assert dataset_fingerprint(write_shards(tmp_path / "swapped", rows[::-1])) != whole
    assert dataset_fingerprint(write_shards(tmp_path / "other split", rows, split="val")) != whole
    reworded = [*rows[:3], make_row(3, expressions=["something else"])]
    assert dataset_fingerprint(write_shards(tmp_path / "reworded", reworded)) != whole


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match="no folder.*nowhere"):
        load_prepared(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="no prepared benchmark"):
        dataset_fingerprint(tmp_path)
    folder = write_shards(tmp_path / "made", [make_row(number) for number in range(4)], shards=2)
    with pytest.raises(ValueError, match="no split 'testA'.*there are train"):
        load_prepared(folder, "testA")
    (folder / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="has 1 of 2 files"):
        load_prepared(folder, "train")


def test_rows_are_read_where_the_users_cache_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    prepared._cache_folder.cache_clear()
    try:
        assert load_prepared(write_shards(tmp_path / "prepared", [make_row()]), "train")[0]["ref_id"] == "0"
    finally:
        prepared._cache_folder.cache_clear()


def test_foreign_columns_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"image": ["a"], "text": ["b"]}).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"columns missing \['ann_ids'.*unknown \['text'\]"):
        load_prepared(tmp_path, "train")


def test_images_that_moved_are_named_when_the_benchmark_is_opened(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (8, 6)).save(path)
    folder = write_shards(tmp_path / "made", [make_row(image={"bytes": None, "path": str(path)})])
    assert load_prepared(folder, "train")[0]["image"].size == (8, 6)
    path.unlink()
    with pytest.raises(ValueError, match="no longer where they were.*image.png"):
        load_prepared(folder, "train")


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("train", ["train", "Train", "training", "train2014", "train_2017"]),
        ("validation", ["val", "validation", "valid", "dev", "val2014", "miniv", "VAL"]),
        ("test", ["test", "testA", "testB", "testAB", "test-dev", "test_u", "testing"]),
        (None, ["trainval", "fold0", "mine", "retrain", "interval", "contest", "train2", ""]),
    ],
)
def test_a_split_is_for_what_its_name_says(role, names):
    assert {split_role(name) for name in names} == {role}


def test_images_are_read_upright_and_a_bad_one_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 6), (9, 90, 200)).save(path, exif=exif)
    row = {
        "image": {"bytes": None, "path": str(path)},
        "size_hw": [8, 6],
        "source": "own",
        "split": "val",
        "ref_id": "3",
    }
    assert read_image(row).size == (6, 8)
    with pytest.raises(
        ValueError, match=r"^reference own/val/3: its image '.*photo.jpg' has height and width \[8, 6\]"
    ):
        read_image(row | {"size_hw": [6, 8]})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="^reference own/val/3: could not .*photo.jpg"):
        read_image(row)


def test_suspicions_are_those_of_the_report_and_a_damaged_one_is_named(tmp_path):
    assert load_suspicions(tmp_path) == {}
    report = {"plausibility": {"references": {"val": {"3": ["its box leaves the image"]}}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert load_suspicions(tmp_path) == {("val", "3"): ["its box leaves the image"]}
    (tmp_path / "report.json").write_text("[")
    with pytest.raises(ValueError, match="report.json' is no report of a preparation"):
        load_suspicions(tmp_path)
