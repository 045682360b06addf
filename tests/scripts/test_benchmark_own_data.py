# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of custom datasets: its tables, the data of its cases, and the settings that leave a remedy out."""

import pytest

from scripts.benchmark_own_data import REMEDIES, main, only_circles, table, thousand_lines
from ssp_sam.training.config_files import parse_settings
from tests.helpers.readme_examples import ROOT

METRICS = {"gIoU": 0.5, "N-acc": None, "T-acc": 0.75, "Pr@0.5": 0.25}


def row(seed: int, **changes) -> dict:
    return {"seed": seed, "metrics": METRICS, "rehearsed": None, "minutes": 1.25, "notes": ["few images"], **changes}


def test_a_table_has_a_row_per_seed_with_the_least_and_the_median():
    better = row(1, metrics={**METRICS, "gIoU": 0.7}, rehearsed={"before": {"gIoU": 0.8}, "after": {"gIoU": 0.75}})
    assert table([row(0), better]).splitlines() == [
        "| seed | gIoU | N-acc | T-acc | Pr@0.5 | scenes: gIoU | scenes: N-acc | minutes |",
        "|---|---|---|---|---|---|---|---|",
        "| 0 | 0.500 |  | 0.750 | 0.250 |  |  | 1.2 |",
        "| 1 | 0.700 |  | 0.750 | 0.250 | 0.800 -> 0.750 |  | 1.2 |",
        "| least | 0.500 |  | 0.750 | 0.250 | | | |",
        "| median | 0.600 |  | 0.750 | 0.250 | | | |",
        "- note: few images",
    ]


def test_a_refused_run_leaves_its_sentence_and_no_table():
    refused = {"seed": 0, "minutes": 0.1, "notes": [], "error": "nothing to segment"}
    assert table([refused]) == "- error: nothing to segment"


@pytest.mark.parametrize("name", sorted(REMEDIES))
def test_each_remedy_can_be_left_out_of_the_recipe(name):
    command = ["--config", "own_data", "--train_dir", str(ROOT)]
    recipe, without = (parse_settings([*command, *more]).as_dict() for more in ([], REMEDIES[name]))
    assert recipe != without


def test_the_cases_change_lines_as_they_say():
    circle = {"image": "0.png", "mask": "a.png", "expression": "the dotted circle"}
    lines = [circle, {**circle, "mask": None}, {**circle, "image": "1.png", "expression": "the dotted square"}]
    assert only_circles(lines) == [{**circle, "expression": "the circle"}]
    many = thousand_lines(lines)
    assert len(many) == len({line["expression"] for line in many[::2]}) * 2 == 1000
    assert {line["image"] for line in many} == {"0.png"}


def test_ended_runs_are_told_and_not_repeated(tmp_path, capsys):
    known = (
        '{"case": "screens", "capability": null, "seed": 3, "options": [], "minutes": 2.0, "notes": [], "error": "no"}'
    )
    (tmp_path / "results.jsonl").write_text(f"{known}\n")
    assert main([str(tmp_path), "--case", "screens", "--seeds", "3"]) == 0
    assert capsys.readouterr().out == "screens, instructions: all, settings: as they are\n- error: no\n"
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
