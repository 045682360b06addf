# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Small copies of large images: what a model sees and learns is what it was."""

import io
import os

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from ssp_sam.training.data.masks import decode, encode
from ssp_sam.training.data.prepared import FEATURES, read_image
from ssp_sam.training.data.references import ReferCollator, ReferDataset
from ssp_sam.training.data.small_copies import LARGE, with_small_copies
from ssp_sam.training.train import main
from tests.helpers.benchmark import tiny_model_folder, tiny_row, write_benchmark
from tests.helpers.models import make_image, make_pipeline


def large_row(number: int, height: int, width: int, masks: np.ndarray, **changes) -> dict:
    stream = io.BytesIO()
    make_image(width, height, seed=number).save(stream, format="PNG")
    changed = {
        "image": {"bytes": stream.getvalue(), "path": None},
        "size_hw": [height, width],
        "ann_ids": [f"{number}-{place}" for place in range(len(masks))],
        "masks": [encode(mask) for mask in masks],
        "no_target": len(masks) == 0,
    }
    return tiny_row(number) | changed | changes


@pytest.fixture(scope="module")
def processor():
    return make_pipeline().processor


@pytest.fixture(scope="module")
def rows(processor):
    side = processor.image_processor.size.longest_edge
    rng = np.random.default_rng(0)
    made = []
    for number, (height, width) in enumerate([(7 * side, 5 * side + 3), (3 * side + 1, 8 * side), (200, 20 * side)]):
        blobs = np.zeros((2, height, width), dtype=bool)
        for blob in blobs:
            top, left = rng.integers(height // 2), rng.integers(width // 2)
            blob[top : top + height // 3, left : left + width // 3] = rng.random((height // 3, width // 3)) > 0.3
        box = [width / 3, height / 4, width / 2, height / 2]
        made.append(large_row(3 * number + 1, height, width, blobs, box_xyxy=box))
        made.append(large_row(3 * number + 2, height, width, blobs[:1], box_xyxy=box))
        made.append(large_row(3 * number + 3, height, width, blobs[:0], box_xyxy=None))
    made.insert(4, tiny_row(0))
    return Dataset.from_list(made, features=FEATURES)


def test_a_batch_is_what_it_was(rows, processor, tmp_path):
    side = processor.image_processor.size.longest_edge
    copied = with_small_copies(rows, side, tmp_path / "copies")
    expected, found = (
        ReferCollator(processor)([ReferDataset(each)[index] for index in range(len(rows))]) for each in (rows, copied)
    )
    assert expected.keys() == found.keys() and found["names"] == expected["names"]
    for name, values in expected.items():
        if isinstance(values, torch.Tensor) and name != "box_labels":
            assert torch.equal(found[name], values), name
    torch.testing.assert_close(found["box_labels"], expected["box_labels"], rtol=0, atol=1e-6)
    sides = [max(size) for size in copied["size_hw"]]
    assert sides.pop(4) == max(rows[4]["size_hw"]) < LARGE * side and set(sides) == {side}
    assert len(list((tmp_path / "copies").iterdir())) == 9


def test_copies_that_are_there_are_not_written_again(rows, processor, tmp_path):
    side = processor.image_processor.size.longest_edge
    with_small_copies(rows, side, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    first = next(iter(times))
    first.unlink()
    with_small_copies(rows, side, tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert after.keys() == times.keys()
    assert {path for path in times if after[path] != times[path]} == {first}


def test_small_images_need_no_copies(rows, tmp_path):
    side = max(max(size) for size in rows["size_hw"])
    assert with_small_copies(rows, -(-side // LARGE), tmp_path / "copies") is rows
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize("corner", [(101, 201), (0, 0), (298, 398)])
def test_a_target_between_the_pixels_keeps_one(corner, tmp_path):
    mask = np.zeros((1, 300, 400), dtype=bool)
    top, left = corner
    mask[0, top : top + 2, left : left + 2] = True
    row = large_row(0, 300, 400, mask, box_xyxy=[left, top, left + 8, top + 8])  # which may leave the image
    (copied,) = with_small_copies(Dataset.from_list([row], features=FEATURES), 16, tmp_path)
    ((y, x),) = np.argwhere(decode(copied["masks"][0]))
    assert (y, x) == (top // 25, left // 25)
    assert copied["box_xyxy"] == pytest.approx([left / 25, top / 25, (left + 8) / 25, (top + 8) / 25])


def test_a_file_that_changes_is_copied_again(tmp_path):
    row = large_row(0, 300, 400, np.ones((1, 300, 400), dtype=bool), box_xyxy=[0, 0, 400, 300])
    path = tmp_path / "image.png"
    row["image"] = {"bytes": None, "path": str(path)}
    shown = []
    for seed in range(2):
        make_image(400, 300, seed=seed).save(path)
        os.utime(path, ns=(seed, seed))
        (copied,) = with_small_copies(Dataset.from_list([row], features=FEATURES), 40, tmp_path / "copies")
        shown.append(read_image(copied).tobytes())
    assert shown[0] != shown[1]


def test_a_box_alone_is_scaled(tmp_path):
    row = large_row(0, 300, 400, np.zeros((1, 300, 400), dtype=bool), box_xyxy=[100, 50, 400, 300]) | {"masks": []}
    (copied,) = with_small_copies(Dataset.from_list([row], features=FEATURES), 40, tmp_path)
    assert copied["masks"] == [] and copied["box_xyxy"] == pytest.approx([10, 5, 40, 30])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": {"bytes": b"no image", "path": None}}, "reference tiny/train/0: could not read an image"),
        ({"size_hw": [301, 400]}, "reference tiny/train/0: its image has height and width"),
        ({"masks": [{"size": [10, 10], "counts": "T3"}]}, "mask 0 of reference '0' has size"),
    ],
)
def test_what_is_damaged_is_named(changes, message, tmp_path):
    row = large_row(0, 300, 400, np.ones((1, 300, 400), dtype=bool), box_xyxy=[0, 0, 400, 300]) | changes
    with pytest.raises(ValueError, match=message):
        with_small_copies(Dataset.from_list([row], features=FEATURES), 40, tmp_path)


@pytest.mark.parametrize("single_tower", [True, False])
def test_a_run_trains_on_copies_and_validates_on_the_images(single_tower, tmp_path):
    mask = np.zeros((1, 300, 400), dtype=bool)
    mask[0, 50:200, 100:300] = True
    rows = [large_row(number, 300, 400, mask, box_xyxy=[100, 50, 300, 200]) for number in range(4)]
    settings = {
        "dataset": write_benchmark(tmp_path / "data", {"train": rows[:3], "val": rows[3:]}),
        "init_from": tiny_model_folder(tmp_path / "model", single_tower),
        "output_dir": tmp_path / "run",
        "images_per_device": 2,
        "num_epochs": 1,
        "warmup_steps": 0,
        "iou_loss_weight": 0,
    }
    main([word for key, value in settings.items() for word in (f"--{key}", str(value))])
    copies = list((tmp_path / "run" / "prepared" / "small_copies").iterdir())
    assert len(copies) == 3
    for path in copies:
        with Image.open(path) as copy:
            assert max(copy.size) < 400 / LARGE
    with Image.open(next((tmp_path / "run" / "drawings").glob("**/*.*"))) as drawing:
        assert drawing.width >= 400
