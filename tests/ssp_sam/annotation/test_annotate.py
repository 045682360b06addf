# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Collections of every form are annotated whole, once, and as the pipeline predicts."""

import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import ssp_sam
from ssp_sam.training.data.masks import decode
from ssp_sam.training.data.prepared import load_prepared
from tests.helpers.collections import EXPRESSIONS, damaged, image_bytes, image_folder, parquet_files, tars
from tests.helpers.models import make_pipeline


@pytest.fixture(scope="module")
def segmenter():
    segmenter = make_pipeline()
    segmenter.processor.no_target_threshold = 1.0
    return segmenter


def rows_in(folder: Path, part: str = "data") -> list[dict]:
    """All rows of an annotation, as they lie there."""
    return [row for path in sorted((folder / part).glob("*.parquet")) for row in parquet.read_table(path).to_pylist()]


def annotate(segmenter, source, output: Path, *arguments, **options):
    return ssp_sam.annotate(source, output, *arguments, model=segmenter, quiet=True, **options)


def test_a_row_is_what_the_pipeline_predicts(segmenter, tmp_path):
    source = image_folder(tmp_path / "images", 7)
    summary = annotate(segmenter, source, tmp_path / "out", EXPRESSIONS, batch_size=3, shard_size=4)
    rows = rows_in(tmp_path / "out")
    assert (summary.images, summary.expressions, summary.failed) == (7, 14, 0)
    assert [row["image_id"] for row in rows[:4]] == ["000.png", "000.png", "001.png", "001.png"]
    for row in rows:
        (expected,) = segmenter(str(source / row["image_id"]), row["expressions"][0])
        assert row["no_target"] == expected["no_target"] and row["fingerprint"] == summary.fingerprint
        assert row["score"] == pytest.approx(expected["score"], abs=1e-4)
        mask = decode(row["masks"][0]) if row["masks"] else np.zeros(row["size_hw"], bool)
        assert (mask != (np.asarray(expected["mask"]) > 0)).mean() < 0.01
        assert [mask.shape[1], mask.shape[0]] == list(expected["mask"].size)


def test_what_cannot_be_used_is_one_row_with_its_reason(segmenter, tmp_path):
    source = image_folder(tmp_path / "images", 5, with_damaged=True)
    summary = annotate(segmenter, source, tmp_path / "out", EXPRESSIONS, batch_size=4)
    failed = {row["image_id"]: row["reason"] for row in rows_in(tmp_path / "out", "failed")}
    assert failed.keys() == damaged().keys() and all(failed.values())
    assert (summary.images, summary.failed) == (5, 4)
    assert "megapixels" in failed["huge.png"] and "81" in failed["huge.png"] or "9000 x 9000" in failed["huge.png"]


def test_more_failures_than_allowed_stop_the_work_and_more_allowed_end_it(segmenter, tmp_path):
    source = image_folder(tmp_path / "images", 5, with_damaged=True)
    with pytest.raises(ValueError, match="3 images could not be used, more than max_failures 2, the last: "):
        annotate(segmenter, source, tmp_path / "out", EXPRESSIONS, max_failures=2, shard_size=3)
    assert annotate(segmenter, source, tmp_path / "out", EXPRESSIONS, max_failures=4, shard_size=3).failed == 4


SOURCES = {
    "folder": lambda folder: image_folder(folder / "images", 6),
    "glob": lambda folder: f"{image_folder(folder / 'images', 6)}/**/*.png",
    "tars": lambda folder: tars(folder / "tars", 3, 2),
    "parquet": lambda folder: parquet_files(folder / "parquet", 3, 2),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_form_of_source_is_read(segmenter, tmp_path, kind):
    summary = annotate(segmenter, SOURCES[kind](tmp_path), tmp_path / "out", EXPRESSIONS, shard_size=2)
    rows = rows_in(tmp_path / "out")
    assert (summary.images, len(rows), summary.failed) == (6, 12, 0)
    assert len(list((tmp_path / "out" / "data").iterdir())) == 3, "a shard for each of the source"
    assert len({row["ref_id"] for row in rows}) == 12
    assert len(load_prepared(tmp_path / "out", "train")) == 12, "it is a prepared dataset"


def test_a_list_in_a_file_names_images_beside_it(segmenter, tmp_path):
    image_folder(tmp_path, 2)
    (tmp_path / "list.txt").write_text("000.png\n001.png\nmissing.png\n")
    summary = annotate(segmenter, tmp_path / "list.txt", tmp_path / "out", EXPRESSIONS)
    assert (summary.images, summary.failed) == (2, 1)


def test_columns_and_templates_say_what_to_look_for(segmenter, tmp_path):
    source = tars(tmp_path / "tars", 1, 4)
    annotate(segmenter, source, tmp_path / "column", column="txt")
    assert [row["expressions"] for row in rows_in(tmp_path / "column")] == [[text] for text in EXPRESSIONS * 2]
    annotate(segmenter, source, tmp_path / "classes", classes=["car", "dog", "car"], template="all {} here")
    first = rows_in(tmp_path / "classes")[:2]
    assert [(row["expressions"][0], row["category"]) for row in first] == [
        ("all car here", "car"),
        ("all dog here", "dog"),
    ]


def test_datasets_in_memory_on_disk_and_as_streams_are_read(segmenter, tmp_path):
    rows = datasets.Dataset.from_list([{"image": {"bytes": image_bytes(seed), "path": None}} for seed in range(5)])
    rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "saved")
    for number, source in enumerate((rows, rows.to_iterable_dataset(num_shards=2), tmp_path / "saved")):
        summary = annotate(segmenter, source, tmp_path / f"out{number}", EXPRESSIONS, shard_size=3)
        assert (summary.images, summary.failed) == (5, 0)
    in_memory, on_disk = rows_in(tmp_path / "out0"), rows_in(tmp_path / "out2")
    assert [row | {"source": ""} for row in in_memory] == [row | {"source": ""} for row in on_disk]


def test_the_hub_is_streamed(segmenter, tmp_path, monkeypatch):
    asked = {}

    def load_dataset(name, **options):
        asked.update(options, name=name)
        files = [str(path) for path in sorted(parquet_files(tmp_path / "hub", 2, 2).iterdir())]
        return real("parquet", data_files={"train": files}, split="train", streaming=True)

    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    summary = annotate(segmenter, "someone/photos@v2", tmp_path / "out", column="captions", split="test")
    assert asked == {"name": "someone/photos", "split": "test", "revision": "v2", "streaming": True}
    assert summary.expressions == 8 and rows_in(tmp_path / "out")[0]["split"] == "test"


@pytest.mark.parametrize("end", [100, 512, 600])  # within a header, after it, within what follows it
def test_a_tar_that_is_cut_off_gives_what_is_whole_and_one_reason(segmenter, tmp_path, end):
    source = tars(tmp_path / "tars", 2, 3)
    with tarfile.open(source / "000.tar") as tar:
        second = tar.getmembers()[2].offset
    (source / "000.tar").write_bytes((source / "000.tar").read_bytes()[: second + end])
    summary = annotate(segmenter, source, tmp_path / "out", EXPRESSIONS)
    assert summary.failed == 1 and summary.images == 3 + 1
    assert "the rest of" in rows_in(tmp_path / "out", "failed")[0]["reason"]


def test_images_in_rows_are_stored_once_for_all_their_expressions(segmenter, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    content = (tmp_path / "noise.png").read_bytes()
    rows = datasets.Dataset.from_list([{"image": {"bytes": content, "path": None}}]).cast_column(
        "image", datasets.Image()
    )
    annotate(segmenter, rows, tmp_path / "out", [*EXPRESSIONS, "a cat", "the box", "a bird"])
    (path,) = (tmp_path / "out" / "data").iterdir()
    assert path.stat().st_size < 1.3 * len(content)


def test_coco_polygons_and_cutouts_are_what_the_rows_say(segmenter, tmp_path):
    from pycocotools.coco import COCO

    source = image_folder(tmp_path / "images", 4)
    annotate(segmenter, source, tmp_path / "out", EXPRESSIONS, coco=True, cutouts=True)
    rows = [row for row in rows_in(tmp_path / "out") if row["masks"]]
    api = COCO(str(tmp_path / "out" / "instances.json"))
    assert len(api.anns) == len(rows) > 0 and len(api.imgs) == 4
    for row, one in zip(rows, api.anns.values(), strict=True):
        assert api.imgs[one["image_id"]]["file_name"] == row["image_id"]
        assert np.array_equal(api.annToMask(one).astype(bool), decode(row["masks"][0]))
        assert api.cats[one["category_id"]]["name"] == row["expressions"][0]
        cut = Image.open(next((tmp_path / "out" / "cutouts").glob(f"*/{row['ref_id']}.png")))
        assert cut.mode == "RGBA" and np.count_nonzero(np.asarray(cut)[..., 3]) == one["area"]


def test_the_card_opens_rows_and_failures(segmenter, tmp_path):
    annotate(segmenter, image_folder(tmp_path / "images", 3, with_damaged=True), tmp_path / "out", EXPRESSIONS)
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=tmp_path / "cache")
    assert rows.num_rows == 6 and rows[0]["image"].size == (24, 18) and rows[0]["fingerprint"]
    failed = datasets.load_dataset(str(tmp_path / "out"), "failed", split="train", cache_dir=tmp_path / "cache")
    assert sorted(failed["image_id"]) == sorted(damaged())
    assert json.loads((tmp_path / "out" / "report.json").read_text())["counts"]["failed"] == 4
    assert Image.open(tmp_path / "out" / "samples.png").width > 300


def test_other_work_is_not_mixed_in(segmenter, tmp_path):
    source = image_folder(tmp_path / "images", 2)
    annotate(segmenter, source, tmp_path / "out", EXPRESSIONS)
    with pytest.raises(ValueError, match="was begun with other expressions; repeat that command"):
        annotate(segmenter, source, tmp_path / "out", "a cat")
    image_folder(source, 3)
    with pytest.raises(ValueError, match="was begun with other facts"):
        annotate(segmenter, source, tmp_path / "out", EXPRESSIONS)
    with pytest.raises(ValueError, match="holds something else"):
        annotate(segmenter, source, source, EXPRESSIONS)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("nowhere at all", {"expressions": "a"}, "no folder, file, glob or dataset of the Hub at 'nowhere at all'"),
        ("empty", {"expressions": "a"}, "no images, tars or parquet files at '.*empty'"),
        ("images", {"expressions": "a", "classes": ["b"]}, "expected one of .*, got expressions and classes"),
        ("images", {"expressions": []}, "expected 1 to 1000 expressions, got 0"),
        ("images", {"expressions": " "}, "expression 1 is empty"),
        (
            "images",
            {"classes": ["b"], "template": "all"},
            "a template with {} for the class name, once, got 'all'",
        ),
        ("images", {"classes": ["b"], "template": "{} {}"}, "for the class name, once, got '{} {}'"),
        ("images", {}, "expected expressions or classes, since images alone have no column 'expressions'"),
        ("images", {"column": "words"}, "since images alone have no column 'words'"),
        ("images", {"expressions": "a", "batch_size": 0}, "batch_size must be above 0, got 0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(segmenter, tmp_path, source, arguments, message):
    image_folder(tmp_path / "images", 1)
    (tmp_path / "empty").mkdir()
    found = tmp_path / source if (tmp_path / source).exists() else source
    with pytest.raises(ValueError, match=message):
        annotate(segmenter, found, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
