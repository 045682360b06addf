# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`scripts/estimate_scale.py`: the table is arithmetic on what was counted and measured."""

from scripts import estimate_scale
from scripts.estimate_scale import main, teraflops_of_an_image


def test_the_table_follows_from_its_figures(monkeypatch, capsys):
    monkeypatch.setattr(estimate_scale, "teraflops_of_an_image", lambda count: (1.0, 0.1 * count))
    words = ["--images", "3600", "--expressions", "10", "--peak-teraflops", "100", "--utilisation", "0.2"]
    words += ["--decode-seconds", "0.02", "--read-seconds", "0.001", "--write-seconds", "0", "--row-bytes", "1e6"]
    main([*words, "--image-bytes", "1e6", "--shard-size", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert "| images a second on one GPU | 10 |" in lines and "| processors that keep one GPU busy | 0.3 |" in lines
    assert "| rows written, for each GPU | 100.00 MB a second |" in lines
    assert "| a shard on one GPU, lost at most by a kill | 6 s |" in lines


def test_arithmetic_is_counted_without_computing():
    (encoders, one), (same, four) = teraflops_of_an_image(1), teraflops_of_an_image(4)
    assert encoders == same and 0 < one < four < encoders
