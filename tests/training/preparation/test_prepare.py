# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Whole preparations: counts, overlaps, what was stopped and goes on, and the command."""

import json
import os
import pickle
import signal
import time
from contextlib import suppress

import psutil
import pytest
from datasets import load_dataset

from scripts import measure_preparation
from ssp_sam.training.data.prepared import dataset_fingerprint, decode_masks, load_prepared
from ssp_sam.training.preparation import prepare as refer_preparation
from ssp_sam.training.preparation import writer as prepared_writer
from ssp_sam.training.preparation.prepare import prepare
from ssp_sam.training.preparation.published_counts import PUBLISHED, PublishedCount, compare
from ssp_sam.training.preparation.readers.records import PreparationError
from ssp_sam.training.preparation.settings import PreparationSettings
from tests.helpers.faults import start_in_trouble
from tests.helpers.processes import PATIENCE
from tests.helpers.raw_benchmarks import (
    coco_name,
    instances,
    phrasecut_task,
    refs,
    sentences,
    write_coco_images,
    write_grefcoco,
    write_image,
    write_phrasecut,
    write_refer,
)
from tests.helpers.writers import run_command


@pytest.fixture
def raw(tmp_path):
    """RefCOCO and its images; returns settings for it that accept its few references."""
    write_refer(tmp_path / "annotations")
    write_coco_images(tmp_path / "images")
    return {"annotations": str(tmp_path / "annotations"), "images": str(tmp_path / "images"), "allow_partial": True}


def files_of(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- The folder ----------------------------------------------------------------------------------------------------


def test_the_folder_opens_with_datasets_and_says_what_is_in_it(raw, tmp_path):
    report = prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    opened = load_dataset(str(tmp_path / "out"))
    assert {split: len(rows) for split, rows in opened.items()} == {"train": 2, "val": 1, "testA": 1}
    assert opened["train"][0]["image"].size == (40, 30) and decode_masks(opened["train"][1]).sum() == 50
    assert sorted(files_of(tmp_path / "out")) == [
        "README.md",
        "data/testA-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "data/val-00000-of-00001.parquet",
        "report.json",
    ]
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8")) == json.loads(json.dumps(report))
    assert report["fingerprint"] == dataset_fingerprint(tmp_path / "out")
    assert list(report["counts"]) == ["train", "val", "testA", "total"]


def test_counts_of_images_references_sentences_and_of_many_and_no_targets(tmp_path):
    write_coco_images(tmp_path / "images")
    settings = PreparationSettings(
        "grefcoco", str(write_grefcoco(tmp_path)), str(tmp_path / "images"), allow_partial=True
    )
    counts = prepare(settings, tmp_path / "out")["counts"]
    names = ("images", "references", "expressions", "masks", "no_target_expressions", "multi_target_expressions")
    assert [counts["train"][name] for name in names] == [1, 1, 2, 2, 0, 2]
    assert [counts["val"][name] for name in names] == [2, 2, 2, 1, 1, 0]
    assert [counts["total"][name] for name in names] == [2, 4, 5, 4, 1, 2]


def test_images_may_be_stored_and_then_may_go(raw, tmp_path):
    prepare(PreparationSettings("refcoco", image_bytes=True, **raw), tmp_path / "stored")
    prepare(PreparationSettings("refcoco", **raw), tmp_path / "named")
    image = tmp_path / "images" / "train2014" / coco_name(581857)
    image.unlink()
    assert load_prepared(tmp_path / "stored", "train")[0]["image"].size == (40, 30)
    with pytest.raises(ValueError, match="no longer where they were"):
        load_prepared(tmp_path / "named", "train")
    assert dataset_fingerprint(tmp_path / "stored") == dataset_fingerprint(tmp_path / "named")


def test_an_output_that_exists_is_not_touched(raw, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("x")
    with pytest.raises(PreparationError, match="exists already"):
        prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    assert (tmp_path / "out" / "precious.txt").read_text() == "x"


# ---- Counts and overlaps -------------------------------------------------------------------------------------------


def test_counts_that_differ_from_the_published_ones_are_an_error_with_both_numbers(raw, tmp_path):
    settings = PreparationSettings("refcoco", **{**raw, "allow_partial": False})
    with pytest.raises(PreparationError, match=r"train: 2 references, published 42,404") as caught:
        prepare(settings, tmp_path / "out")
    assert "--allow-partial" in caught.value.hint and "--" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    # What was written is not lost: the same with leave needs no row any more.
    report = prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    assert "testB: 0 images, published 750" in [item["deviation"] for item in report["published"]]


def test_a_set_with_the_published_counts_is_accepted_and_total_counts_need_all_splits(raw, tmp_path, monkeypatch):
    counts = [PublishedCount("train", "references", 2, 2), PublishedCount("total", "images", 2, 2)]
    counts.append(PublishedCount("val", "expressions", 99, 99, certain=False))
    monkeypatch.setitem(PUBLISHED, "refcoco_unc", counts)
    strict = {**raw, "allow_partial": False}
    report = prepare(PreparationSettings("refcoco", **strict), tmp_path / "out")
    assert [item["deviation"] for item in report["published"]] == [None, None, "val: 1 expressions, published 99"]
    report = prepare(PreparationSettings("refcoco", splits=["train"], **strict), tmp_path / "train")
    assert [item["split"] for item in report["published"]] == ["train"]


def test_published_counts_of_memory_and_ranges_are_compared_as_such():
    assert compare("refclef_berkeley", {"total": {"images": 19_950}}, True)[0]["deviation"] is None
    assert "published 19,894 to 19,997" in compare("refclef_berkeley", {"total": {"images": 5}}, True)[0]["deviation"]
    memory = [count for count in PUBLISHED["grefcoco_unc"] if not count.certain]
    assert {count.what for count in memory} >= {"multi_target_expressions", "no_target_expressions"}
    for name in ("refcoco_unc", "refcoco+_unc"):
        numbers = {(count.split, count.what): count.lowest for count in PUBLISHED[name]}
        splits = [numbers[split, "expressions"] for split in ("train", "val", "testA", "testB")]
        assert sum(splits) == numbers["total", "expressions"]


def test_images_of_training_that_are_held_out_elsewhere_are_counted(raw, tmp_path):
    write_grefcoco(tmp_path / "annotations")  # beside RefCOCO: val has both images, testA one
    content = [*refs(), {**refs()[0], "ref_id": 9, "split": "val"}]
    write_refer(tmp_path / "annotations", content=content)
    report = prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    assert [list(item.values()) for item in report["overlaps"]] == [
        ["train", "refcoco_unc", "val", 1, ["581857"]],
        ["val", "refcoco_unc", "testA", 1, ["9"]],
        ["train", "grefcoco_unc", "val", 1, ["581857"]],
    ]


def test_images_of_visual_genome_are_compared_with_those_of_coco(raw, tmp_path):
    root = write_phrasecut(tmp_path / "phrasecut", train=[phrasecut_task()])
    prepare(PreparationSettings("refcoco", **raw), tmp_path / "refcoco")
    settings = {"allow_partial": True, "held_out": [str(tmp_path / "refcoco")]}
    report = prepare(PreparationSettings("phrasecut", str(root), str(root), **settings), tmp_path / "out")
    # Image 2347567 of Visual Genome is image 9 of COCO, which RefCOCO has in val and testA.
    assert {(item["benchmark"], item["other_split"], item["images"]) for item in report["overlaps"]} == {
        ("refcoco_unc", "val", 1),
        ("refcoco_unc", "testA", 1),
    }
    assert report["visual_genome_compared_with_coco"] is True


def test_the_merge_is_cleaned_of_held_out_images_or_refused(raw, tmp_path):
    entries = [
        {"iid": f"{image_id}.jpg", "bbox": [1, 1, 9, 9], "refs": ["x"], "data_source": "coco"}
        for image_id in (581857, 9)
    ]
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "merge.json").write_text(json.dumps({"train": entries}))
    merge = {"annotations": str(tmp_path / "anns"), "images": raw["images"]}
    with pytest.raises(PreparationError, match="must be cleaned of validation and test images"):
        prepare(PreparationSettings("merge", **merge), tmp_path / "merge")
    prepare(PreparationSettings("refcoco", **raw), tmp_path / "refcoco")
    report = prepare(PreparationSettings("merge", held_out=[str(tmp_path / "refcoco")], **merge), tmp_path / "merge")
    assert report["notes"] == {"references_of_held_out_images_dropped": 1} and report["overlaps"] == []
    assert [row["image_id"] for row in load_prepared(tmp_path / "merge", "train")] == ["coco/581857"]


# ---- Bad records ---------------------------------------------------------------------------------------------------


def test_a_bad_record_stops_the_work_or_is_left_out_and_counted(raw, tmp_path):
    content = [*refs(), {**refs()[1], "ref_id": 50, "ann_id": 5}, refs()[0], {"split": "../../x", "ref_id": 1}]
    write_refer(tmp_path / "annotations", content=content)
    with pytest.raises(PreparationError, match=r"record 4 of refs\(unc\)\.p: instances.json has no annotation 5"):
        prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    report = prepare(PreparationSettings("refcoco", skip_bad=True, **raw), tmp_path / "out")
    assert report["bad_records"]["skipped"] == 3 and report["counts"]["total"]["references"] == 4
    assert "record 5 of refs(unc).p: reference '0' is in record 0 already" in report["bad_records"]["first"]
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir())[1] == "train-00000-of-00001.parquet"
    assert list(report["counts"]) == ["train", "val", "testA", "total"]


def test_pickles_that_carry_code_are_refused_in_one_sentence(raw, tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "annotations" / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Runs()]))
    with pytest.raises(PreparationError, match=r"asks for the Python object \w+\.mkdir"):
        prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_sentences_without_words_are_dropped_but_counted_as_published(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "refcoco_unc", [PublishedCount("train", "expressions", 2, 2)])
    content = [{**refs()[0], **sentences(0, "the lady", " ")}]
    write_refer(tmp_path / "annotations", content=content)
    report = prepare(PreparationSettings("refcoco", **{**raw, "allow_partial": False}), tmp_path / "out")
    assert report["counts"]["train"]["expressions"] == 1 and report["notes"] == {"empty_expressions": 1}


# ---- Several processes, and going on -------------------------------------------------------------------------------


@pytest.fixture
def many(raw, tmp_path, monkeypatch):
    """Forty references in parts of three, so that there is something to stop in between."""
    monkeypatch.setattr(prepared_writer, "ROWS_PER_PART", 3)
    monkeypatch.setattr(prepared_writer, "ROWS_PER_GROUP", 2)
    content = [{**ref, "ref_id": 10 * turn + ref["ref_id"]} for turn in range(10) for ref in refs()]
    write_refer(tmp_path / "annotations", content=content)
    prepare(PreparationSettings("refcoco", **raw), tmp_path / "whole")
    assert len(files_of(tmp_path / "whole")) == 2 + 7 + 4 + 4  # 20 references of train, 10 of val and of testA
    return raw


def test_several_processes_write_the_same_bytes_as_one(many, tmp_path):
    prepare(PreparationSettings("refcoco", processes=2, **many), tmp_path / "by_two")
    assert files_of(tmp_path / "by_two") == files_of(tmp_path / "whole")


@pytest.mark.long
def test_a_killed_run_leaves_no_process_behind(raw, tmp_path):
    words = ["prepare", "refcoco", "--annotations", raw["annotations"], "--images", raw["images"], "--processes", "2"]
    words += ["--output", tmp_path / "out", "--allow-partial"]
    run = start_in_trouble(run_command, words, tmp_path / "said", watched=tmp_path / "out.partial", die_at=2)
    [process] = run.members
    process.join()
    assert process.exitcode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    while others := alive_in_group(process.pid):
        assert time.monotonic() < deadline, others
        time.sleep(0.05)


def alive_in_group(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_only_missing_parts_are_written_again(many, tmp_path, monkeypatch):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(PreparationSettings("refcoco", **many), tmp_path / "again", progress=stop)
    made = []
    original = prepared_writer.RowMaker.row
    monkeypatch.setattr(prepared_writer.RowMaker, "row", lambda self, item: made.append(item) or original(self, item))
    prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "whole") and len(made) == 37


def test_a_run_that_stops_while_it_finishes_goes_on(many, tmp_path, monkeypatch):
    def stop(report, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(refer_preparation, "write_card", stop)
        prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "whole")


def test_a_run_that_stops_when_all_but_the_unfinished_work_is_there_is_done(many, tmp_path, monkeypatch):
    def stop(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepared_writer.shutil, "rmtree", stop)
        prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    assert (tmp_path / "again").exists() and (tmp_path / "again.partial").exists()
    with pytest.raises(PreparationError, match="exists already"):
        prepare(PreparationSettings("refcoco", image_bytes=True, **many), tmp_path / "again")
    report = prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    assert (
        report["fingerprint"] == dataset_fingerprint(tmp_path / "whole") and not (tmp_path / "again.partial").exists()
    )


def test_of_two_preparations_at_once_the_second_is_refused_and_nothing_is_left_behind(many, tmp_path):
    told = []

    def another(number):
        if not told:
            with pytest.raises(PreparationError) as caught:
                prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
            told.append(str(caught.value))

    prepare(PreparationSettings("refcoco", **many), tmp_path / "again", progress=another)
    assert "another process is writing into" in told[0] and files_of(tmp_path / "again") == files_of(tmp_path / "whole")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".") or "partial" in path.name]


def test_a_full_disk_is_one_sentence_and_the_work_goes_on(many, tmp_path, monkeypatch):
    def full(self, rows):
        raise OSError(28, "No space left on device", "rows.parquet")

    with monkeypatch.context() as patch:
        patch.setattr(prepared_writer.parquet.ParquetWriter, "write_table", full)
        with pytest.raises(PreparationError, match="cannot read or write 'rows.parquet' .No space left on device"):
            prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    prepare(PreparationSettings("refcoco", **many), tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "whole")


def test_whatever_goes_wrong_with_a_record_is_that_records(raw, tmp_path, monkeypatch):
    def fail(self, item):
        raise OverflowError("int too large")

    monkeypatch.setattr(prepared_writer.RowMaker, "row", fail)
    with pytest.raises(PreparationError, match=r"^record . of refs.unc..p: it cannot be read .OverflowError: int too"):
        prepare(PreparationSettings("refcoco", **raw), tmp_path / "out")
    with pytest.raises(PreparationError, match="none of 4 records can be used, the first: record . of"):
        prepare(PreparationSettings("refcoco", skip_bad=True, **raw), tmp_path / "out2")


def test_unfinished_work_of_other_settings_is_not_mixed_in(many, tmp_path):
    strict = {**many, "allow_partial": False}
    with pytest.raises(PreparationError, match="published"):
        prepare(PreparationSettings("refcoco", **strict), tmp_path / "out")
    with pytest.raises(PreparationError, match="unfinished preparation with other image_bytes"):
        prepare(PreparationSettings("refcoco", image_bytes=True, **strict), tmp_path / "out")
    write_refer(tmp_path / "annotations", content=refs())
    with pytest.raises(PreparationError, match="unfinished preparation with other annotation files"):
        prepare(PreparationSettings("refcoco", **strict), tmp_path / "out")


def test_a_set_of_refcocos_shape_is_prepared_with_all_its_counts(tmp_path, monkeypatch):
    splits = {"train": (8, 20, 57), "val": (2, 5, 14), "testA": (1, 3, 8), "testB": (1, 2, 5)}
    annotations, images = measure_preparation.write_set(tmp_path, splits)
    monkeypatch.setitem(
        PUBLISHED,
        "refcoco_unc",
        [
            PublishedCount(split, what, number, number)
            for split, numbers in splits.items()
            for what, number in zip(("images", "references", "expressions"), numbers)
        ],
    )
    report = prepare(PreparationSettings("refcoco", str(annotations), str(images), processes=2), tmp_path / "out")
    assert report["counts"]["total"]["references"] == 30 and report["overlaps"] == [] and report["notes"] == {}
    assert all(decode_masks(row).sum() > 500 for row in load_prepared(tmp_path / "out", "train"))


def test_a_benchmark_without_its_folder_of_images_or_with_no_reference_says_so(raw, tmp_path):
    with pytest.raises(PreparationError, match="refcoco_unc needs a folder of its images"):
        prepare(PreparationSettings("refcoco", raw["annotations"]), tmp_path / "out")
    with pytest.raises(PreparationError, match="no folder of images"):
        prepare(PreparationSettings("refcoco", raw["annotations"], str(tmp_path / "none")), tmp_path / "out")
    with pytest.raises(PreparationError, match="nothing to prepare"):
        prepare(PreparationSettings("refcoco", splits=["testZ"], **raw), tmp_path / "out")


def test_one_folder_of_own_data_needs_no_other(tmp_path):
    write_image(tmp_path / "own" / "photo.png", (40, 30))
    lines = [{"image": "photo.png", "mask": None, "expression": "a dragon"}]
    (tmp_path / "own" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    report = prepare(PreparationSettings("folder", str(tmp_path / "own")), tmp_path / "out")
    assert report["counts"]["train"]["no_target_expressions"] == 1 and report["published"] == []
    content = instances() | {"references": [{"image_id": 9, "ann_ids": [1719312], "expressions": ["bottle"]}]}
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "own.json").write_text(json.dumps(content))
    write_coco_images(tmp_path / "coco")
    prepare(PreparationSettings("coco", str(tmp_path / "coco" / "own.json")), tmp_path / "out2")
    assert decode_masks(load_prepared(tmp_path / "out2", "train")[0]).sum() == 8
