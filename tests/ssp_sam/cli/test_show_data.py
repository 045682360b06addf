# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam show-data`: which samples it draws, and what it says of those that it cannot draw."""

import pytest
from PIL import Image

from ssp_sam.cli.main import main
from ssp_sam.training.preparation.prepare import prepare
from ssp_sam.training.preparation.settings import PreparationSettings
from tests.helpers.benchmark import tiny_row, write_benchmark
from tests.helpers.tool_exports import write_images, write_label_studio


@pytest.fixture
def prepared(tmp_path):
    path = write_label_studio(tmp_path, write_images(tmp_path / "images"))
    settings = {"images": str(tmp_path / "images"), "skip_bad": True, "allow_empty_targets": 1}
    prepare(PreparationSettings("coco", str(path), **settings), tmp_path / "prepared")
    return str(tmp_path / "prepared")


@pytest.mark.parametrize(
    ("options", "counted"), [([], "13 of 13"), (["--suspicious"], "6 of 6"), (["--suspicious", "--n", "2"], "2 of 6")]
)
def test_all_samples_are_drawn_or_the_suspicious_ones(prepared, tmp_path, capsys, options, counted):
    assert main(["show-data", prepared, *options, "--output", str(tmp_path / "sheet.png")]) == 0
    assert capsys.readouterr().out == f"{counted} samples: {tmp_path / 'sheet.png'}\n"
    assert Image.open(tmp_path / "sheet.png").width > 380


def test_what_cannot_be_drawn_is_one_sentence(prepared, tmp_path, capsys):
    assert main(["show-data", prepared, "--suspicious", "--split", "val", "--output", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err == f"ssp-sam: {prepared!r} has no suspicious samples\n"
    whole = tiny_row(0)["image"]["bytes"]
    damaged = write_benchmark(tmp_path / "damaged", {"train": [tiny_row(0, image={"bytes": whole[:90], "path": None})]})
    assert main(["show-data", str(damaged), "--output", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.startswith("ssp-sam: reference tiny/train/0: could not ")
