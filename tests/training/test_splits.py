# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Which references are trained on and which are validated on."""

import contextlib
import json
import re
import shutil
from types import SimpleNamespace

import pytest
from datasets import Dataset

from scripts.make_custom_dataset import write_dataset
from ssp_sam.training.arguments import DataArguments
from ssp_sam.training.config_files import parse_settings
from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.splits import check_folders, keep_back, open_references
from tests.helpers.benchmark import tiny_row, write_benchmark
from tests.helpers.custom_datasets import COLUMNS, DATASETS

PROCESS = SimpleNamespace(is_main_process=True, main_process_first=contextlib.nullcontext)


def opened(tmp_path, **settings):
    """The two sets of references that settings choose, as sets of image ids."""
    settings = {"init_from": "model", "output_dir": tmp_path / "run", **settings}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return open_references(parse_settings(words), PROCESS)


def benchmark(folder, **splits):
    """A prepared benchmark with an image per number, such as `train=[0, 1]`."""
    return write_benchmark(folder, {name: [tiny_row(number) for number in numbers] for name, numbers in splits.items()})


def split_folder(folder, splits, count=4, seed=0):
    """A custom dataset whose images belong to given splits in turn; `None` leaves the split out."""
    write_dataset("textures", folder, count, seed)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for line in lines:
        split = splits[int(re.search(r"\d+", line["image"])[0]) % len(splits)]
        if split is not None:
            line["split"] = split
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


# Splits of the data, of other data for validation, options, what is trained on, what is validated on.
CHOICES = [
    ({"train": [0, 1], "val": [2]}, None, {}, {"0", "1"}, {"2"}),
    ({"training": [0, 1], "validation": [2], "test": [3]}, None, {}, {"0", "1"}, {"2"}),
    ({"Train": [0, 1], "dev": [2], "testA": [3]}, None, {}, {"0", "1"}, {"2"}),
    ({"train": [0, 1], "valid": [2]}, None, {}, {"0", "1"}, {"2"}),
    ({"train": [0, 1], "test": [3]}, None, {"eval_split": "test"}, {"0", "1"}, {"3"}),
    ({"fold0": [0, 1], "fold1": [2]}, None, {"train_split": "fold0", "eval_split": "fold1"}, {"0", "1"}, {"2"}),
    ({"train": [0, 1], "test": [9]}, {"val": [2]}, {}, {"0", "1"}, {"2"}),
    ({"train": [0, 1], "val": [9]}, {"train": [2]}, {}, {"0", "1"}, {"2"}),
    ({"train": [0, 1], "val": [9]}, {"test": [2], "train": [8]}, {"eval_split": "test"}, {"0", "1"}, {"2"}),
]


@pytest.mark.parametrize(("splits", "other", "options", "trained", "validated"), CHOICES)
def test_only_a_split_for_training_is_trained_on(tmp_path, splits, other, options, trained, validated):
    options = options | {"dataset": benchmark(tmp_path / "data", **splits)}
    if other is not None:
        options["eval_dataset"] = benchmark(tmp_path / "other", **other)
    train, validation = opened(tmp_path, **options)
    assert (set(train["image_id"]), set(validation["image_id"])) == (trained, validated)


REFUSALS = [
    (
        {"test": [0], "testA": [1]},
        None,
        {},
        "no split called train or training: there are test, testA; .*--train_split",
    ),
    ({"train": [0], "training": [1]}, None, {}, "several of train, training: there are train, training; name one"),
    ({"train": [0], "val": [1], "dev": [2]}, None, {}, "several of val, .* dev, train, val; .*--eval_split"),
    ({"train": [0]}, {"test": [1], "testB": [2]}, {}, "no split called val .*: there are test, testB; .*--eval_split"),
    ({"train": [0]}, None, {"train_split": "fold"}, r"train_split must be a split of '.*' \(train\), got 'fold'"),
    ({"train": [0]}, None, {"eval_split": "val"}, r"eval_split must be a split of '.*' \(train\), got 'val'"),
    ({"train": [0]}, None, {}, "the training split has 1 image, too few to keep one back .*eval_dir, or eval_dataset"),
]


@pytest.mark.parametrize(("splits", "other", "options", "message"), REFUSALS)
def test_what_is_not_certain_is_refused_with_the_option_that_settles_it(tmp_path, splits, other, options, message):
    options = options | {"dataset": benchmark(tmp_path / "data", **splits)}
    if other is not None:
        options["eval_dataset"] = benchmark(tmp_path / "other", **other)
    with pytest.raises(ValueError, match=message) as caught:
        opened(tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("splits", [[None], ["train"], ["training", "test"]])
def test_images_are_kept_back_whole_where_no_split_is_for_validation(tmp_path, splits):
    folder = split_folder(tmp_path / "images", splits, count=8)
    train, validation = opened(tmp_path, train_dir=folder, eval_fraction=0.25)
    images = 8 // len(splits)
    assert len(set(train["image_id"])) == images - round(0.25 * images)
    assert len(set(validation["image_id"])) == round(0.25 * images)
    assert not set(train["image_id"]) & set(validation["image_id"])
    for row in validation:
        assert row["no_target"] == (not row["masks"])
        assert (decode_masks(row).sum() > 200) == (not row["no_target"])


def test_a_folder_for_validation_leaves_the_other_splits_of_the_first_alone(tmp_path, capsys):
    folder = split_folder(tmp_path / "images", ["train", "test", "val", "testA"])
    other = split_folder(tmp_path / "other", [None], seed=1)
    train, validation = opened(tmp_path, train_dir=folder, eval_dir=other)
    assert set(train["split"]) == {"train"} and len(set(validation["image_id"])) == 4
    said = capsys.readouterr().out
    assert f"training on split 'train' of {folder}: 1 images, {len(train)} expressions" in said
    assert f"validating on split 'train' of {other}: 4 images, {len(validation)} expressions" in said
    assert "not used: test, testA, val\n" in said and "note:" not in said


def test_an_image_that_is_trained_and_validated_on_is_named(tmp_path, capsys):
    folder = split_folder(tmp_path / "images", [None])
    other = split_folder(tmp_path / "other", [None], seed=1)
    opened(tmp_path, train_dir=folder, eval_dir=other)
    assert "note:" not in capsys.readouterr().out, "other images of the same names"
    shutil.copy(folder / "images/00002.png", other / "images/00001.png")
    opened(tmp_path, train_dir=folder, eval_dir=other)
    assert "note: 1 images are trained and validated on, such as " in capsys.readouterr().out
    opened(tmp_path, dataset=benchmark(tmp_path / "data", train=[0, 1, 2], val=[2, 3]))
    assert "note: 1 images are trained and validated on, such as 2;" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"resume": "auto"}])
def test_a_custom_dataset_is_prepared_anew(tmp_path, options):
    folder = split_folder(tmp_path / "images", [None])
    opened(tmp_path, train_dir=folder)
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_text("".join(lines[:-3]))
    anew, validation = opened(tmp_path, train_dir=folder, **options)
    assert len(anew) + len(validation) == len(lines) - 3


def test_a_single_image_cannot_be_kept_back():
    with pytest.raises(ValueError, match="the training split has 1 image, too few to keep one back"):
        keep_back(Dataset.from_dict({"image_id": ["a", "a"]}), 0.1, seed=0)


def test_a_custom_dataset_that_cannot_be_prepared_is_named_with_the_command_that_has_the_option(tmp_path):
    folder = split_folder(tmp_path / "images", [None])
    with open(folder / "metadata.jsonl", "a") as stream:
        stream.write("no JSON\n")
    with pytest.raises(
        ValueError, match="train_dir '.*': .*; or prepare it by ssp-sam prepare, where --skip-bad .*--dataset"
    ):
        opened(tmp_path, train_dir=folder)
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(ValueError, match="train_dir '.*': there are no annotations in .*: expected metadata.jsonl"):
        opened(tmp_path, train_dir=folder)


@pytest.mark.parametrize("writer", [pytest.param(writer, id=writer.__name__) for writer in DATASETS])
def test_a_custom_dataset_of_every_format_is_trained_and_validated_on(writer, tmp_path, capsys):
    folder = writer(tmp_path / "data")
    preparation = {"format": DATASETS[writer]} | ({"columns": COLUMNS} if DATASETS[writer] == "table" else {})
    train, validation = opened(tmp_path, train_dir=folder, eval_fraction=0.5, preparation=json.dumps(preparation))
    assert {len(set(rows["image_id"])) for rows in (train, validation)} == {1}
    assert f"train_dir '{folder}': " in capsys.readouterr().out
    assert any(decode_masks(row).any() for row in train) and any(decode_masks(row).any() for row in validation)


def test_settings_of_the_preparation_are_checked_before_a_model_is_loaded(tmp_path):
    data = DataArguments(train_dir=str(tmp_path), preparation='{"formats": "coco"}')
    with pytest.raises(ValueError, match="preparation may name images, masks, format, .*, got 'formats'"):
        check_folders(data)
    check_folders(DataArguments(train_dir="owner/name", preparation='{"format": "table"}'))
    with pytest.raises(ValueError, match="there is no folder train_dir 'owner/name'"):
        check_folders(DataArguments(train_dir="owner/name"))
