# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam prepare`: what it prints, how it tells what is wrong, and the commands of the documentation."""

import re
import shlex
from pathlib import Path

import pytest

from ssp_sam.cli.main import main, make_parser
from ssp_sam.training.data.prepared import dataset_fingerprint
from ssp_sam.training.preparation.settings import BENCHMARKS, FORMATS, PreparationSettings
from tests.helpers.raw_benchmarks import refs, write_coco_images, write_refer


@pytest.fixture
def words(tmp_path):
    """The command that prepares a small RefCOCO."""
    write_refer(tmp_path / "annotations")
    images = write_coco_images(tmp_path / "images")
    words = ["prepare", "refcoco", "--annotations", str(tmp_path / "annotations"), "--images", str(images)]
    return [*words, "--output", str(tmp_path / "out"), "--processes", "1"]


def test_it_prints_counts_rate_and_memory(words, tmp_path, capsys):
    assert main([*words, "--allow-partial"]) == 0
    printed = capsys.readouterr().out
    assert "published counts met: 0 of 13" in printed and "references/s" in printed and "GiB of memory" in printed
    assert "differs from the published count: train: 2 references, published 42,404" in printed
    assert f"fingerprint {dataset_fingerprint(tmp_path / 'out')}" in printed


def test_an_option_that_helps_is_named(words, tmp_path, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--allow-partial accepts the difference")
    write_refer(tmp_path / "annotations", content=[{**refs()[0], "ann_id": 5}])
    assert main([*words[:-3], str(tmp_path / "again"), "--processes", "1"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == (
        "ssp-sam: record 0 of refs(unc).p: instances.json has no annotation 5; "
        "--skip-bad leaves such records out and counts them"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["refcoco", "--annotations", "nowhere"], "no file or folder of annotations 'nowhere'"),
        (["refcoco"], "--annotations must name the folder or file of annotations"),
        (["original", "--from-hub", "a/b"], "--annotations must name the name of the file, such as refcoco"),
        (
            ["refcoco", "--from-hub", "a/b", "--annotations", "x"],
            "from_hub belongs to original or merge, got 'refcoco'",
        ),
        (["refcoco", "--annotations", "."], "no instances.json in"),
        (["refcoco", "--annotations", ".", "--split-by", "umd"], "split_by of refcoco must be one of unc, google"),
        (["phrasecut", "--annotations", ".", "--split-by", "umd"], "split_by of phrasecut must be left out"),
        (["refcoco", "--annotations", ".", "--processes", "0"], "processes must be at least 1, got 0"),
        (["folder", "--annotations", ".", "--allow-empty-targets", "-1"], "allow_empty_targets must be at least 0"),
        (["hub", "--annotations", "no such id"], "a folder or an id on the Hub"),
        (["phrasecut", "--annotations", "."], "no refer_<split>.json"),
        (["original", "--annotations", "."], "expected one of refcoco.json"),
        (["refcoco", "--annotations", ".", "--format", "coco"], "format belongs to custom, got 'coco'"),
        (
            ["custom", "--annotations", ".", "--columns", "photo"],
            "columns are given as NAME=COLUMN, such as image=photo",
        ),
        (["custom", "--annotations", "."], "there are no annotations in '.': expected metadata.jsonl"),
        (["refcocoo", "--annotations", "."], "invalid choice"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    processes = [] if "--processes" in words else ["--processes", "1"]
    assert main(["prepare", *words, "--output", "out", *processes]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ssp-sam") and error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_the_commands_of_the_documentation_are_understood():
    docs = Path(__file__).resolve().parents[3] / "docs"
    text = "".join((docs / name).read_text("utf-8") for name in ("data.md", "formats.md")).replace("\\\n", " ")
    seen = set()
    for line in re.findall(r"^ssp-sam (prepare .+)$", text, re.M):
        options = vars(make_parser(["prepare"]).parse_args(shlex.split(line)))
        settings = {name: value for name, value in options.items() if name not in ("command", "run", "output")}
        seen.add(PreparationSettings(**settings).benchmark)
    assert seen == set(BENCHMARKS) - set(FORMATS)
