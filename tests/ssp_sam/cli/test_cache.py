# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam cache` on the command line; what it does is tested where it is done."""

import pytest

from ssp_sam.cli import cache
from ssp_sam.cli.main import main, make_parser


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give images by --data or --images"),
        (["--images", "x.png", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--images", "x.png", "--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--images", "x.png", "--splits", "val"], "--splits are those of --data, which is missing"),
        (["--images", "x.png"], "no image file or folder at 'x.png'"),
        (["--data", "nowhere"], "there is no folder 'nowhere'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(words, message, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "--model", str(tiny_checkpoint), "--output", "o", *words]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 1 and message in printed[0]
    assert list(tmp_path.iterdir()) == []


def test_the_line_for_several_processes_repeats_what_was_asked_and_no_defaults():
    words = ["--model", "m", "--output", "a b", "--data", "x", "y", "--with-patches", "--workers", "2"]
    line = cache.launch_line(make_parser(["cache"]).parse_args(["cache", *words]))
    assert line == (
        "accelerate launch -m ssp_sam.cli.main cache --model m --output 'a b' --data x y --with-patches --workers 2"
    )
