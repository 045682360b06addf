# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`scripts/benchmark.py`: works take turns, and ratios are those to the first of their group."""

import itertools

import pytest

from scripts import benchmark
from scripts.benchmark import Work, main, measure, table


def test_works_take_turns_and_the_median_counts(monkeypatch):
    turns, costs = [], iter([1.0, 10.0, 3.0, 20.0, 2.0, 90.0])
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, cost) for cost in costs))
    monkeypatch.setattr(benchmark, "processor_seconds", lambda: next(clock))
    works = [Work("one", lambda: turns.append("one")), Work("two", lambda: turns.append("two"))]
    assert measure(works, 3) == [2.0, 20.0]
    assert turns == ["one", "two"] * 3


def test_the_table_divides_by_the_first_row():
    lines = table("start", [Work("base", print), Work("other", print)], [2.0, 0.5]).splitlines()
    assert lines[2:] == ["| base | 2 | 1.00 |", "| other | 0.5 | 0.25 |"]


def test_a_run_prints_and_writes_the_groups_that_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark, "GROUPS", {"a": lambda _: [Work("first", sum)], "b": lambda _: [Work("second", int)]}
    )
    monkeypatch.setattr(benchmark, "measure", lambda works, repetitions: [1.0 * repetitions])
    main(["b", "--repetitions", "2", "--output", str(tmp_path / "speed.md")])
    text = capsys.readouterr().out
    assert "| second | 2 | 1.00 |" in text and "first" not in text and "medians of 2" in text
    assert (tmp_path / "speed.md").read_text() == text
    with pytest.raises(SystemExit):
        main(["c"])


def test_a_photograph_is_written_in_the_size_that_was_asked_for(tmp_path):
    benchmark.write_photograph(tmp_path / "photo.jpg", 120, 80)
    with benchmark.Image.open(tmp_path / "photo.jpg") as image:
        assert image.size == (120, 80) and image.format == "JPEG"
