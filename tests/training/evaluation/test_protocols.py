# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Protocols and sums of an evaluation: the square of the original, hand-worked tallies, reports and their picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssp_sam import SspSamProcessor
from ssp_sam.processing.visualization.comparison import (
    MISSED,
    RIGHT,
    WRONG,
    Case,
    choose_cases,
    draw_contact_sheet,
    paint_case,
)
from ssp_sam.training.data.masks import area, decode, encode
from ssp_sam.training.evaluation.metrics import box_iou_xyxy
from ssp_sam.training.evaluation.predictor import RawAnswer
from ssp_sam.training.evaluation.protocols import (
    EvaluationProtocol,
    EvaluationTally,
    prediction_record,
    square_mask,
)
from ssp_sam.training.evaluation.report import build_report, choose_family, markdown_report, markdown_table
from ssp_sam.training.evaluation.samples import EvaluationItem, target_groups
from tests.helpers.models import make_config, make_tokenizer


def rectangle(size_hw, top, left, bottom, right) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def item_of(mask: np.ndarray, number: int = 0, groups=()) -> EvaluationItem:
    box = (0.0, 0.0, 4.0, 4.0) if mask.any() else None
    return EvaluationItem(f"ref {number}", 0, "the dog", encode(mask), box, tuple(groups))


def record_of(mask: np.ndarray | None, **more) -> dict | None:
    return None if mask is None else {"segmentation": encode(mask), **more}


def tally_of(family: str = "gres", min_mask_pixels: int = 0, canvas_size: int = 512) -> EvaluationTally:
    standard = EvaluationProtocol.standard(0.5, min_mask_pixels)
    return EvaluationTally(family, (standard, EvaluationProtocol.original()), canvas_size)


@pytest.fixture(scope="module")
def processor() -> SspSamProcessor:
    return SspSamProcessor.from_model_config(make_config(), make_tokenizer())


# ---- the square of the original protocol ---------------------------------------------------------------------------


def test_the_true_mask_lies_in_the_square_as_the_picture_on_the_canvas():
    # 256 x 128 pixels on a canvas of 1024 are four times as large, on the square twice; the right half is padding.
    square = square_mask(rectangle((256, 128), 64, 32, 128, 96), canvas_size=1024)
    assert square.shape == (512, 512)
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    # Bilinear resizing reaches up to one pixel of the picture beyond the edge.
    assert abs(rows[0] - 128) <= 2 and abs(rows[-1] - 255) <= 2
    assert abs(columns[0] - 64) <= 2 and abs(columns[-1] - 191) <= 2


def test_the_answer_in_the_square_is_where_the_sigmoid_is_at_least_a_half(processor):
    logits = torch.full((1, 1, 32, 32), -2.0)
    logits[..., :16, :] = 0.0  # a probability of exactly 0.5
    outputs = {"pred_masks": logits, "pred_boxes": None, "no_target_logits": None}
    answer = RawAnswer(outputs, torch.tensor([[32, 32]]), torch.tensor([[32, 32]]), processor)
    square = answer.in_square(512)
    assert square[:240].all() and not square[260:].any()
    assert not answer.read(mask_threshold=0.5)["mask"].any(), "the standard protocol asks for more than 0.5"


def test_a_record_holds_masks_of_both_protocols_and_both_boxes(processor):
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    shape = {"pred_masks": torch.ones(1, 1, 32, 32), "pred_boxes": boxes}
    sizes = torch.tensor([[30, 40]]), torch.tensor([[24, 32]])
    empty = rectangle((30, 40), 0, 0, 0, 0)
    shown, gated = (
        prediction_record("7", item_of(empty), RawAnswer({**shape, "no_target_logits": logit}, *sizes, processor))
        for logit in (torch.tensor([-4.0]), torch.tensor([4.0]))
    )
    assert area(shown["segmentation"]) == 30 * 40 and shown["segmentation"]["size"] == [30, 40]
    assert area(shown["segmentation_512"]) == 512 * 512, "the square is scored with its padding"
    assert shown["box_xyxy"] == shown["head_box_xyxy"] == pytest.approx([10.0, 10.0, 30.0, 30.0])
    assert area(gated["segmentation"]) == area(gated["segmentation_512"]) == 0
    assert gated["box_xyxy"] is None and gated["head_box_xyxy"] == shown["head_box_xyxy"]
    assert gated["score"] == pytest.approx(gated["no_target_probability"]) == pytest.approx(0.982, abs=1e-3)


# ---- tallies -------------------------------------------------------------------------------------------------------


def test_both_protocols_count_small_masks_by_their_own_rule_and_in_their_own_pixels():
    # The picture is the canvas, 512 x 512, so that both count the same pixels: 49 where nothing is meant, 49 of 49.
    small, empty = rectangle((512, 512), 0, 0, 7, 7), rectangle((512, 512), 0, 0, 0, 0)
    tally = tally_of(min_mask_pixels=50)
    tally.add(0, 0, "a", item_of(empty), record_of(small))
    tally.add(0, 1, "a", item_of(small), record_of(small))
    results = tally.results()
    assert (results["standard"]["all"]["N-acc"], results["standard"]["all"]["T-acc"]) == (1.0, 0.0)
    assert (results["original"]["all"]["N-acc"], results["original"]["all"]["T-acc"]) == (1.0, 1.0)
    assert results["standard"]["settings"]["pixel_space"] == "pixels of the picture"
    assert "512 x 512" in results["original"]["settings"]["pixel_space"]
    assert results["original"]["settings"]["small_masks_rule"] == "no_target"


def test_a_target_that_the_square_loses_is_still_meant():
    point = rectangle((4096, 16), 1, 1, 2, 2)
    lost = square_mask(point, 512).any() == np.False_
    tally = tally_of(canvas_size=512)
    tally.add(0, 0, "a", item_of(point), record_of(point & False))
    result = tally.results()["original"]["all"]
    assert lost and (result["targeted"], result["no_target"], result["gIoU"]) == (1, 0, 0.0)


def test_the_standard_protocol_reads_the_answers_box_and_the_original_that_of_the_head():
    mask = rectangle((8, 8), 0, 0, 4, 4)
    tally = tally_of("res")
    tally.add(0, 0, "a", item_of(mask), record_of(mask, box_xyxy=None, head_box_xyxy=[0, 0, 4, 3]))
    results = tally.results()
    assert box_iou_xyxy([0, 0, 4, 3], [0, 0, 4, 4]) == 0.75
    assert (results["standard"]["all"]["box Acc@0.5"], results["original"]["all"]["box Acc@0.5"]) == (0.0, 1.0)


def test_parts_of_an_evaluation_add_up_to_the_whole_exactly():
    rng = np.random.default_rng(0)
    whole, parts = tally_of(), [tally_of(), tally_of(), tally_of()]
    for number in range(24):
        predicted, true = rng.random((2, 12, 9)) < rng.random((2, 1, 1))
        true &= number % 4 != 0
        item = item_of(true, number, groups=[("kind", f"kind {number % 5}")])
        record = record_of(None if number == 7 else predicted, score=float(rng.random()))
        for tally in (whole, parts[number % 3]):
            tally.add(number, 0, str(number), item, record)
    merged = whole.merged([parts[i].state() for i in (2, 0, 1)])
    assert merged.results() == whole.results()
    assert merged.fingerprint == whole.fingerprint
    assert sorted(zip(*merged.cases)) == sorted(zip(*whole.cases))
    assert whole.results()["standard"]["all"]["missing"] == 1


def test_the_fingerprint_changes_with_words_and_truth():
    mask = rectangle((8, 8), 0, 0, 4, 4)
    marks = set()
    for item in (item_of(mask), item_of(mask, 1), item_of(~mask), item_of(mask)._replace(expression="a dog")):
        marks.add(item.fingerprint("a"))
    assert len(marks | {item_of(mask).fingerprint("b")}) == 5


def test_calibration_error_is_the_mean_gap_over_bins():
    # Bin 0.9..1: score 0.95, right 3 of 4. Bin 0.2..0.3: score 0.25, rightly empty.
    full, empty = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    tally = tally_of()
    for predicted, true, score in (*[(full, full, 0.95)] * 3, (empty, full, 0.95), (empty, empty, 0.25)):
        tally.add(0, 0, "a", item_of(true), record_of(predicted, score=score))
    assert tally.results()["standard"]["score_error"] == pytest.approx((4 * 0.2 + 0.75) / 5)


def test_groups_are_those_of_phrasecut():
    def groups(share: float, targets: int) -> list[str]:
        mask = np.zeros(10_000, dtype=bool)
        mask[: round(share * 10_000)] = True
        return [group for _, group in target_groups(targets, encode(mask.reshape(100, 100)))]

    assert groups(0.0199, 1) == ["single", "small"]
    assert groups(0.02, 2) == ["multi", "mid"]
    assert groups(0.2001, 5) == ["multi", "many", "large"]
    assert groups(0, 0) == ["none"]


# ---- reports -------------------------------------------------------------------------------------------------------


def test_the_family_follows_the_benchmark():
    assert choose_family(["refcoco_unc"], False) == "res"
    assert choose_family(["refcoco_unc"], True) == choose_family(["grefcoco_unc"], False) == "gres"
    assert choose_family(["phrasecut"], False) == choose_family(["phrase_cut_test"], False) == "phrasecut"
    assert choose_family(["phrasecut", "refcoco_unc"], False) == "res"


def test_the_report_names_both_protocols_and_what_small_masks_mean_in_each():
    full, empty = np.ones((40, 40), dtype=bool), np.zeros((40, 40), dtype=bool)
    tally = tally_of(min_mask_pixels=20)
    for number, mask in enumerate((full, full, empty)):
        tally.add(number, 0, "a", item_of(mask, number, [("kind", "none" if number == 2 else "noun")]), record_of(mask))
    dataset = {"name": "x|y", "split": "val", "sources": ["own"], "images": 3, "references": 3}
    settings = {"canvas_size": 512, "min_mask_pixels": 20}
    report = build_report(tally, dataset=dataset, model=None, settings=settings, run={"seconds": 1.0})
    text = markdown_report(report, "sheet.png")
    assert "**standard**: in pixels of the picture" in text and "fewer than 20 such pixels" in text
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


def test_the_contact_sheet_shows_best_median_worst_and_what_is_not_meant():
    # Nine cases with IoU 0.1 to 0.9 on as many pictures; without a target one rightly and two wrongly answered.
    overlaps = [number / 10 for number in range(1, 10)] + [-2.0, -1.0, -1.0]
    cases = (list(range(12)), [0] * 12, overlaps)
    chosen = choose_cases(cases, 2)
    assert chosen["best"] == [(8, 0), (7, 0)]
    assert chosen["worst"] == [(0, 0), (1, 0)]
    assert chosen["median"][0] == (4, 0)
    assert chosen["nothing is meant"] == [(10, 0), (9, 0)]
    turned = tuple(values[::-1] for values in cases)
    assert choose_cases(turned, 2) == chosen


def test_colours_of_a_case_tell_right_wrong_and_missed_pixels():
    picture = Image.new("RGB", (6, 6), (255, 255, 255))
    painted = np.asarray(paint_case(picture, rectangle((6, 6), 0, 0, 6, 4), rectangle((6, 6), 0, 2, 6, 6))).astype(int)
    for column, colour in ((0, WRONG), (3, RIGHT), (5, MISSED)):
        distances = [abs(painted[3, column] - other).sum() for other in (WRONG, RIGHT, MISSED)]
        assert min(distances) == abs(painted[3, column] - colour).sum()
    with pytest.raises(ValueError, match=r"picture's size \(6, 6\), got \(5, 6\)"):
        paint_case(picture, np.zeros((5, 6), dtype=bool), np.zeros((6, 6), dtype=bool))


def test_a_sheet_of_one_case_with_long_words_is_drawn():
    mask = decode(encode(rectangle((20, 500), 0, 0, 20, 250)))
    case = Case(Image.new("RGB", (500, 20)), "w" * 300 + " and more" * 40, mask, mask, "IoU 1.00")
    sheet = draw_contact_sheet({"best": [case]}, "t" * 500)
    assert sheet.width < 1500 and sheet.height < 500
    with pytest.raises(ValueError, match="at least one case"):
        draw_contact_sheet({}, "nothing")
