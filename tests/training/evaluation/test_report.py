# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reports: which metrics, what they say of both protocols, and the figures of papers beside the measured ones."""

import numpy as np

from ssp_sam.training.evaluation.report import build_report, choose_family, markdown_report, markdown_table
from tests.helpers.evaluation import accumulator_of, image_of, item_of, record_of


def test_the_family_follows_the_benchmark():
    assert choose_family(["refcoco_unc"], False) == "res"
    assert choose_family(["refcoco_unc"], True) == choose_family(["grefcoco_unc"], False) == "gres"
    assert choose_family(["phrasecut"], False) == choose_family(["phrase_cut_test"], False) == "phrasecut"
    assert choose_family(["phrasecut", "refcoco_unc"], False) == "res"


def test_the_report_names_both_protocols_and_what_small_masks_mean_in_each():
    full, empty = np.ones((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    sums = accumulator_of(min_mask_pixels=20)
    for number, mask in enumerate((full, full, empty)):
        item = item_of(mask, number, [("kind", "none" if number == 2 else "noun")])
        sums.add(image_of(item, index=number), 0, record_of(mask))
    dataset = {"name": "x|y", "split": "val", "sources": ["own"], "images": 3, "references": 3}
    settings = {"canvas_size": 512, "min_mask_pixels": 20}
    report = build_report(sums, dataset=dataset, model=None, settings=settings, run={"seconds": 1.0})
    text = markdown_report(report, "sheet.png")
    assert "**standard**: in pixels of the image" in text and "fewer than 20 such pixels" in text
    assert "**original**: in pixels of SAM's padded square resized to 512 x 512" in text
    assert "fewer than 50 such pixels count as empty for expressions without a target" in text
    assert "x\\|y" in text and "![best, median and worst cases](sheet.png)" in text
    assert list(report["protocols"]["original"]["breakdowns"]["kind"]) == ["noun", "none"]
    assert report["counts"] == {
        "images": 3, "references": 3, "expressions": 3, "targeted": 2, "no_target": 1, "missing": 0
    }  # fmt: skip


def test_the_table_shows_a_dash_where_nothing_was_counted():
    table = markdown_table({"none": {"samples": 3, "N-acc": 1.0, "Pr@0.5": None}}, ("Pr@0.5", "N-acc"), "kind")
    assert table.splitlines() == [
        "| kind | expressions | Pr@0.5 | N-acc |",
        "|---|---|---|---|",
        "| none | 3 | – | 1.000 |",
    ]
