# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Exports of annotation tools with every fault planted once: each is found, counted and named."""

import json

import pytest

from ssp_sam.training.data.prepared import decode_masks, load_prepared
from ssp_sam.training.preparation import plausibility
from ssp_sam.training.preparation.prepare import prepare
from ssp_sam.training.preparation.readers.records import PreparationError
from ssp_sam.training.preparation.report import describe
from ssp_sam.training.preparation.settings import PreparationSettings
from tests.helpers.tool_exports import EXPORTS, FAULTS, UNUSABLE, USABLE, write_images


@pytest.mark.parametrize("tool", EXPORTS)
def test_every_fault_of_an_export_is_in_the_report(tool, tmp_path):
    paths = write_images(tmp_path / "images")
    path = EXPORTS[tool](tmp_path, paths)
    settings = {"benchmark": "coco", "annotations": str(path), "images": str(tmp_path / "images")}
    with pytest.raises(
        PreparationError, match=rf"^record (13|18) of {path.name}, '\w+': .*(photos/cut.png|has neither)"
    ):
        prepare(PreparationSettings(**settings), tmp_path / "strict")
    report = prepare(PreparationSettings(**settings, skip_bad=True, allow_empty_targets=1), tmp_path / "prepared")
    # Every usable reference is there, with its own image and mask.
    rows = {row["expressions"][0] + row["image_id"]: row for row in load_prepared(tmp_path / "prepared", "train")}
    images = {row["image_id"] for row in rows.values()}
    assert {"cam1/0001.png", "cam2/0001.png", "photos/good one.png", "photos/odd.jfif"} <= images
    assert decode_masks(rows["the thing" + "cam2/0001.png"]).sum() == 300
    without_words = tool == "references"  # a reference there needs words; an annotation elsewhere may have none
    assert report["counts"]["total"]["references"] == USABLE
    assert report["bad_records"]["skipped"] == UNUSABLE + without_words
    assert report["notes"].get("annotations_without_sentences", 0) == (not without_words)
    # What was left out is named by its reason.
    said = "\n".join(report["bad_records"]["first"])
    for reason in (
        "photos/cut.png",
        "the image has 48 x 65 pixels (height x width), the annotation says 48 x 64",
        "fractions of the image? Multiply x by 64 and y by 48",
        "fits its mask only as left, top, right, bottom",
        "is no valid Unicode",
        "has neither a segmentation nor a box",
    ):
        assert said.count(reason) == 1, (reason, said)
    # What is suspicious, in two splits, or there twice.
    suspicious = dict.fromkeys(plausibility.KINDS, 1) | {plausibility.UNLIKE: 2}  # a box over the edge is unlike, too
    assert report["plausibility"]["suspicious"] == suspicious
    assert [(item["split"], item["other_split"], item["first"]) for item in report["overlaps"]] == [
        ("train", "val", ["photos/twin.png"])
    ]
    assert report["copies"] == [{"images": ["photos/copy.png", "photos/good one.png"], "splits": ["train", "val"]}]
    text = describe(report)
    for line in (
        "in two splits: 1 of the images of train are in own val, too, such as photos/twin.png",
        "the same file under several names, in different splits: photos/copy.png and photos/good one.png",
        *(f"suspicious: {kind}: {count}" for kind, count in suspicious.items()),
        f"records left out: {UNUSABLE + without_words}\n  record 1",
    ):
        assert line in text
    assert len(json.loads((tmp_path / "prepared" / "report.json").read_text("utf-8"))["bad_records"]["first"]) >= 6


def test_the_table_of_faults_is_counted_right():
    assert len(FAULTS) == USABLE + UNUSABLE + 1


def test_targets_without_pixels_stop_the_work_unless_they_are_allowed(tmp_path):
    paths = write_images(tmp_path / "images")
    settings = {
        "benchmark": "coco",
        "annotations": str(EXPORTS["CVAT"](tmp_path, paths)),
        "images": str(tmp_path / "images"),
        "skip_bad": True,
    }
    with pytest.raises(PreparationError, match="1 of 13 targets have no pixel, such as train 0#11") as caught:
        prepare(PreparationSettings(**settings), tmp_path / "out")
    assert caught.value.hint == "--allow-empty-targets 1 accepts them"
    report = prepare(PreparationSettings(**settings, allow_empty_targets=1), tmp_path / "out")
    assert report["plausibility"]["suspicious"][plausibility.EMPTY] == 1


def test_the_decode_check_can_be_left_out_and_then_finds_no_damage(tmp_path):
    paths = write_images(tmp_path / "images")
    settings = {
        "benchmark": "coco",
        "annotations": str(EXPORTS["CVAT"](tmp_path, paths)),
        "images": str(tmp_path / "images"),
        "skip_bad": True,
        "allow_empty_targets": 1,
    }
    report = prepare(PreparationSettings(**settings, decode_check=False), tmp_path / "out")
    assert report["counts"]["total"]["references"] == USABLE + 1 and report["copies"] == []
    assert plausibility.DARK not in report["plausibility"]["suspicious"]
