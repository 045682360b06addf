# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Figures of papers beside the measured ones: each with a source, compared by its protocol, in points."""

import re

import pytest
import yaml

from ssp_sam.training.evaluation.published import PUBLISHED_RESULTS, compare_with_published, published_table
from ssp_sam.training.evaluation.report import metric_names, published_section

BENCHMARKS = yaml.safe_load(PUBLISHED_RESULTS.read_text("utf-8"))
PROTOCOLS = ("standard", "original")


def report_of(source: str, split: str, **metrics) -> dict:
    rows = {protocol: {"all": {**metrics, "gIoU": 0.7 if protocol == "original" else 0.65}} for protocol in PROTOCOLS}
    return {"dataset": {"name": source, "sources": [source], "split": split}, "protocols": rows}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_figure_has_a_source_and_a_metric_of_its_family(benchmark):
    family = "gres" if benchmark == "grefcoco" else "res"
    for entry in BENCHMARKS[benchmark]["results"]:
        assert re.fullmatch(r"arXiv \d{4}\.\d{5}", entry["source"])
        assert entry.get("protocol", "standard") in PROTOCOLS
        splits = set(entry) - {"method", "source", "protocol"}
        assert splits and splits <= {"val", "testA", "testB"}
        for split in splits:
            assert set(entry[split]) <= set(metric_names(family))
            assert all(1 < value <= 100 for value in entry[split].values())


def test_the_difference_is_in_points_and_by_the_protocol_of_the_paper():
    rows = compare_with_published(report_of("grefcoco_unc", "val", cIoU=None))
    found = {(row["method"], row["metric"]): row for row in rows}
    own = found["SSP-SAM", "gIoU"]
    assert (own["published"], own["measured"], own["difference"]) == (69.09, 70.0, 0.91)
    assert (found["ReLA", "gIoU"]["measured"], found["ReLA", "gIoU"]["difference"]) == (65.0, 1.4)
    assert found["ReLA", "cIoU"]["difference"] is None
    table = published_table(rows)
    assert "| SSP-SAM | gIoU | original | 69.09 | 70.00 | +0.91 | arXiv 2603.18086 |" in table
    assert "| ReLA | cIoU | standard | 62.4 | – | – | arXiv 2306.00968 |" in table


@pytest.mark.parametrize(("source", "split"), [("own", "val"), ("grefcoco_unc", "train"), ("refcoco+_unc", "val")])
def test_where_nothing_is_known_nothing_is_shown(source, split):
    report = report_of(source, split)
    report["published"] = compare_with_published(report)
    assert report["published"] == []
    assert published_section(report) == f"No published figures are known for {source}, split {split!r}."
