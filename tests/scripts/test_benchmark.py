# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`scripts/benchmark.py`: works take turns, and ratios are those to the first of their group."""

import gc
import itertools

import pytest
from PIL import Image

from scripts import benchmark
from scripts.benchmark import Cost, main, measure, table
from scripts.speed.works import Work, write_photograph


@pytest.fixture(scope="module", autouse=True)
def collect_quickly():
    """Keeps the collections of garbage before each turn off what other tests have imported: half a second each."""
    gc.collect()
    gc.freeze()


def test_works_take_turns_after_one_that_is_not_counted_and_the_median_counts(monkeypatch):
    turns, costs = [], iter([50.0, 50.0, 1.0, 10.0, 3.0, 20.0, 2.0, 90.0])
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, cost) for cost in costs))
    monkeypatch.setattr(benchmark, "processor_seconds", lambda: next(clock))
    works = [Work("one", lambda: turns.append("one")), Work("two", lambda: turns.append("two"))]
    assert [cost.seconds for cost in measure(works, 3, "cpu")] == [2.0, 20.0]
    assert turns == ["one", "two"] * 4


def test_a_work_of_several_processes_tells_the_time_that_counts():
    works = [Work("both", lambda: 4.0, tells_time=True)]
    assert table("g", works, measure(works, 2, "cpu"), "cpu").startswith("| g | seconds |")
    assert measure(works, 2, "cpu")[0].seconds == 4.0


def test_the_most_memory_held_at_a_time_is_counted():
    if not benchmark.CLEAR_PEAK.exists():
        pytest.skip("only Linux says how much memory a process has held")
    (cost,) = measure([Work("allocate", lambda: bytearray(200 << 20))], 1, "cpu")
    assert 150 < cost.megabytes < 300


def test_a_work_that_cannot_run_leaves_the_others_their_rows(capsys):
    works = [Work("base", int), Work("broken", lambda: 1 // 0)]
    costs = measure(works, 1, "cpu")
    assert costs[0] is not None and costs[1] is None
    assert "broken: ZeroDivisionError" in capsys.readouterr().err
    assert table("g", works, [Cost(1.0, 0.0), None], "cpu").splitlines()[-1] == "| broken | – | – | – |"


def test_the_table_divides_by_the_first_row():
    lines = table("g", [Work("base", print), Work("other", print)], [Cost(2.0, 0.1), Cost(0.5, 1500.0)], "cpu")
    assert lines.splitlines()[2:] == ["| base | 2 | 1.00 | – |", "| other | 0.5 | 0.25 | 1,500 |"]


def test_a_run_prints_and_writes_the_groups_that_are_named(tmp_path, monkeypatch, capsys):
    groups = {"a": lambda _, device: [Work("first", sum)], "b": lambda _, device: [Work("second", int)]}
    monkeypatch.setattr(benchmark, "GROUPS", groups)
    monkeypatch.setattr(benchmark, "measure", lambda works, repetitions, device: [Cost(1.0 * repetitions, 0.0)])
    main(["b", "--repetitions", "2", "--output", str(tmp_path / "speed.md")])
    text = capsys.readouterr().out
    assert "| second | 2 | 1.00 | – |" in text and "first" not in text and "medians of 2" in text
    assert (tmp_path / "speed.md").read_text().strip() == text.strip()
    with pytest.raises(SystemExit):
        main(["c"])


def test_a_photograph_is_written_in_the_size_that_was_asked_for(tmp_path):
    write_photograph(tmp_path / "photo.jpg", 120, 80)
    with Image.open(tmp_path / "photo.jpg") as image:
        assert image.size == (120, 80) and image.format == "JPEG"
