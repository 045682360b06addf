# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline returns, and what it becomes for other tools."""

import base64
import copy
import io
import json
import pickle
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from ssp_sam.processing.mask_windows import MaskWindow
from ssp_sam.processing.segmentation_results import SegmentationResult, to_coco, to_labelme
from tests.helpers.models import make_image

IMAGE = make_image(8, 6)


def make_result(box=(2, 1, 5, 4), label="the red car") -> SegmentationResult:
    """A result whose mask fills `box` (left, top, right, bottom, ends outside); None means no target."""
    mask = Image.new("L", IMAGE.size)
    if box is not None:
        mask.paste(255, box)
    corners = None if box is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), box))
    return SegmentationResult(
        mask=mask, score=0.75, box=corners, label=label, no_target=box is None, unknown_words=["car"]
    )


def test_entries_are_attributes_of_what_stays_a_dict():
    result = make_result()
    assert isinstance(result, dict) and result.mask is result["mask"] and result.box["xmax"] == 5
    assert (result.score, result.label, result.no_target, result.unknown_words) == (0.75, "the red car", False, ["car"])
    assert {"mask", "to_coco"} <= set(dir(result))
    result.label = "my car"
    assert result["label"] == result.to_coco()["caption"] == "my car"
    with pytest.raises(
        AttributeError, match="a result has mask, score, box, label, no_target, unknown_words, got 'iou"
    ):
        _ = result.iou


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))])
def test_a_result_is_copied_and_pickled_as_one(duplicate):
    result = make_result()
    other = duplicate(result)
    assert type(other) is SegmentationResult and other is not result and other == result


def test_an_annotation_of_coco_is_read_by_its_own_library():
    annotation = json.loads(json.dumps(make_result().to_coco(image_id=7, annotation_id=3, category_id=2)))
    assert [annotation[key] for key in ("id", "image_id", "category_id", "iscrowd")] == [3, 7, 2, 0]
    assert annotation["bbox"] == [2, 1, 3, 3] and annotation["area"] == 9 and annotation["caption"] == "the red car"
    rle = coco.frPyObjects(annotation["segmentation"], 6, 8)
    assert np.array_equal(coco.decode(rle), make_result().inside) and coco.area(rle) == 9


@pytest.mark.parametrize("box", [None, (0, 0, 8, 6), (0, 0, 1, 1), (7, 5, 8, 6)])
def test_run_lengths_of_borders_empty_and_full_masks(box):
    inside = make_result(box).inside
    lengths = MaskWindow.of(inside).run_lengths()
    assert sum(lengths["counts"]) == 48 and lengths["size"] == [6, 8]
    assert np.array_equal(coco.decode(coco.frPyObjects(lengths, 6, 8)), inside)


def test_a_dataset_of_coco_numbers_images_expressions_and_what_was_found():
    results = [make_result(), make_result(None, "a dog"), make_result((0, 0, 2, 2), "the red car")]
    dataset = to_coco([("a.png", results), ("b.png", [make_result(label="a dog")])])
    assert [(image["id"], image["file_name"], image["width"], image["height"]) for image in dataset["images"]] == [
        (1, "a.png", 8, 6),
        (2, "b.png", 8, 6),
    ]
    assert dataset["categories"] == [{"id": 1, "name": "the red car"}, {"id": 2, "name": "a dog"}]
    keys = ("id", "image_id", "category_id")
    assert [[item[key] for key in keys] for item in dataset["annotations"]] == [[1, 1, 1], [2, 1, 1], [3, 2, 2]]


def test_a_file_of_labelme_holds_each_mask_in_its_box():
    file = json.loads(json.dumps(to_labelme("a.png", [make_result(), make_result(None, "a dog")])))
    assert (file["imagePath"], file["imageWidth"], file["imageHeight"]) == ("a.png", 8, 6)
    [shape] = file["shapes"]
    assert shape["label"] == "the red car" and shape["points"] == [[2, 1], [4, 3]] and shape["shape_type"] == "mask"
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as mask:
        assert mask.size == (3, 3) and np.asarray(mask).all()


def test_a_cutout_is_the_image_inside_and_transparent_outside():
    cut = make_result().cutout(IMAGE)
    assert cut.mode == "RGBA" and cut.size == (3, 3)
    assert np.array_equal(np.asarray(cut)[..., :3], np.asarray(IMAGE)[1:4, 2:5]) and np.asarray(cut)[..., 3].all()
    whole = make_result().cutout(np.asarray(IMAGE), crop=False)
    assert whole.size == IMAGE.size and np.array_equal(np.asarray(whole)[..., 3] > 0, make_result().inside)
    assert make_result(None).cutout(IMAGE).getextrema()[3] == (0, 0)


def test_another_image_is_refused():
    with pytest.raises(ValueError, match=r"image that was segmented, of size \(8, 6\), got \(9, 6\)"):
        make_result().cutout(make_image(9, 6))


def test_a_result_is_drawn_with_and_without_its_image():
    drawings = [make_result().plot(), make_result().plot(IMAGE)]
    assert drawings[0].size == drawings[1].size and drawings[0].mode == "RGB"
    assert not np.array_equal(*map(np.asarray, drawings))


def test_detections_of_supervision_have_box_mask_score_and_words():
    supervision = pytest.importorskip("supervision", reason="supervision is not installed: pip install supervision")
    found = [make_result().to_supervision(), make_result(None).to_supervision(), make_result().to_supervision()]
    assert [len(detections) for detections in found] == [1, 0, 1]
    merged = supervision.Detections.merge(found)
    assert merged.xyxy.tolist() == [[2, 1, 5, 4]] * 2 and merged.confidence.tolist() == [0.75] * 2
    assert merged["class_name"].tolist() == ["the red car"] * 2
    assert np.array_equal(merged.mask[0], make_result().inside)


@pytest.mark.parametrize(
    "module, use, message",
    [
        ("supervision", lambda result: result.to_supervision(), "pip install supervision"),
        ("ssp_sam.processing.visualization.overlay", lambda result: result.plot(), "pip install ssp-sam"),
    ],
)
def test_what_is_not_installed_is_named(module, use, message, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
    with pytest.raises(ImportError, match=message):
        use(make_result())
