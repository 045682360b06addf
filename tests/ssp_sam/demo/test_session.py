# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The demo without its page: images, expressions, clicks, and how often images are encoded."""

import json

import numpy as np
import pytest
from PIL import Image

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.demo.session import (
    CACHED_IMAGES,
    DemoSegmenter,
    DemoState,
    describe_model,
    describe_state,
    draw_state,
    save_result,
)
from tests.helpers.comparison import masks_agree, results_agree
from tests.helpers.models import make_image, make_pipeline


@pytest.fixture(scope="module")
def segmenter() -> DemoSegmenter:
    return DemoSegmenter(make_pipeline())


@pytest.fixture
def image_file(tmp_path) -> str:
    make_image(48, 36).save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


@pytest.fixture
def predicted(segmenter, image_file) -> DemoState:
    return segmenter.segment(segmenter.open(image_file), "the red car\na dog")


def masks(state: DemoState) -> list[np.ndarray]:
    return [np.asarray(result["mask"]) for result in state.results]


def same_masks(state: DemoState, other: DemoState) -> bool:
    return all(map(np.array_equal, masks(state), masks(other)))


def test_the_prediction_is_the_pipelines(segmenter, predicted):
    expected = segmenter.pipeline(predicted.image, ["the red car", "a dog"])
    assert results_agree(predicted.results, expected)


def test_lines_are_cleaned_and_asked_once_each(segmenter, image_file):
    state = segmenter.segment(segmenter.open(image_file), "  a   dog \n\n\ta cat\na dog\n")
    assert state.expressions == ["a dog", "a cat"]


def test_each_image_is_encoded_once_across_interactions(segmenter, image_file, monkeypatch, tmp_path):
    calls = []
    encode = segmenter.pipeline.model.get_image_features
    monkeypatch.setattr(
        segmenter.pipeline.model, "get_image_features", lambda **inputs: calls.append(1) or encode(**inputs)
    )
    make_image(31, 29, seed=77).save(tmp_path / "other.png")
    state = segmenter.segment(segmenter.open(str(tmp_path / "other.png")), "a dog")
    state = segmenter.click(state, "a dog", "inside", (100, 100))
    segmenter.segment(segmenter.open(str(tmp_path / "other.png")), "a cat\na bird")
    assert len(calls) == 1
    for seed in range(CACHED_IMAGES + 1):
        segmenter.segment(DemoState(image=make_image(20, 20, seed=seed)), "a dog")
    assert len(calls) == CACHED_IMAGES + 2
    segmenter.clear(state)
    assert len(calls) == CACHED_IMAGES + 3  # the first image was forgotten, not kept for ever


# ---- clicks ---------------------------------------------------------------------------------------------------------


def test_a_click_changes_the_prediction_for_its_expression_alone(segmenter, predicted):
    clicked = segmenter.click(predicted, "a dog", "inside", (10 * predicted.scale, 20 * predicted.scale))
    expected = segmenter.pipeline(predicted.image, "a dog", input_points=[[10, 20]], input_labels=[1])[0]
    assert masks_agree(masks(clicked)[1], expected["mask"])
    assert np.array_equal(masks(clicked)[0], masks(predicted)[0]) and not same_masks(clicked, predicted)


def test_points_on_and_beside_differ(segmenter, predicted):
    position = (10 * predicted.scale, 20 * predicted.scale)
    inside, outside = (segmenter.click(predicted, "a dog", kind, position) for kind in ("inside", "outside"))
    assert not same_masks(inside, outside)


def test_two_clicks_draw_a_box_whatever_their_order(segmenter, predicted):
    corners = [(30 * predicted.scale, 5 * predicted.scale), (10 * predicted.scale, 20 * predicted.scale)]
    half = segmenter.click(predicted, "a dog", "box", corners[0])
    assert same_masks(half, predicted) and half.marks["a dog"][-1].kind == "corner"
    boxed = segmenter.click(half, "a dog", "box", corners[1])
    expected = segmenter.pipeline(predicted.image, "a dog", input_boxes=[10, 5, 30, 20])[0]
    assert masks_agree(masks(boxed)[1], expected["mask"])
    assert [mark.kind for mark in boxed.marks["a dog"]] == ["box"]


def test_a_point_after_one_corner_drops_the_corner(segmenter, predicted):
    half = segmenter.click(predicted, "a dog", "box", (50, 50))
    assert [mark.kind for mark in segmenter.click(half, "a dog", "inside", (60, 60)).marks["a dog"]] == ["inside"]


def test_a_box_of_one_point_is_refused(segmenter, predicted):
    half = segmenter.click(predicted, "a dog", "box", (50, 50))
    with pytest.raises(ValueError, match="two corners that are apart"):
        segmenter.click(half, "a dog", "box", (50, 90))


def test_clicks_beyond_the_edge_count_as_on_it(segmenter, predicted):
    clicked = segmenter.click(predicted, "a dog", "inside", (1e5, -3))
    assert clicked.marks["a dog"][0].xy == (48.0, 0.0)


def test_undo_and_clear_take_clicks_back(segmenter, predicted):
    once = segmenter.click(predicted, "a dog", "inside", (100, 100))
    twice = segmenter.click(once, "a dog", "outside", (200, 200))
    assert same_masks(segmenter.undo(twice, "a dog"), once)
    assert same_masks(segmenter.undo(segmenter.undo(twice, "a dog"), "a dog"), predicted)
    assert same_masks(segmenter.clear(twice), predicted) and not any(segmenter.clear(twice).marks.values())
    assert segmenter.undo(predicted, "a dog") is predicted and segmenter.undo(predicted, None) is predicted


def test_the_box_of_a_refined_prediction_is_that_of_its_mask(segmenter, predicted):
    result = segmenter.click(predicted, "a dog", "inside", (100, 100)).results[1]
    assert tuple(result["box"].values()) == result["mask"].getbbox()


def test_clicks_stay_with_expressions_that_stay(segmenter, predicted):
    clicked = segmenter.click(predicted, "a dog", "inside", (100, 100))
    again = segmenter.segment(clicked, "a cat\na dog")
    assert list(again.marks) == ["a dog"] and np.array_equal(masks(again)[1], masks(clicked)[1])
    assert segmenter.segment(again, "a cat").marks == {}


# ---- wrong input ----------------------------------------------------------------------------------------------------


def test_wrong_input_is_told_in_a_sentence(segmenter, predicted, image_file, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "image.png").read_bytes()[:400])
    for name in ("notes.png", "cut.png"):
        with pytest.raises(ValueError, match="cannot be read as an image") as caught:
            segmenter.open(str(tmp_path / name))
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match="There is no image yet"):
        segmenter.segment(segmenter.open(None), "a dog")
    with pytest.raises(ValueError, match="nothing to look for yet"):
        segmenter.segment(predicted, " \n ")
    with pytest.raises(ValueError, match="at most 20 expressions at once; these are 21"):
        segmenter.segment(predicted, "\n".join(f"dog {number}" for number in range(21)))
    for expression in (None, "a cat"):
        with pytest.raises(ValueError, match="nothing to refine yet"):
            segmenter.click(predicted, expression, "inside", (5, 5))
    with pytest.raises(ValueError, match="nothing to look behind yet"):
        segmenter.explain(segmenter.open(image_file))


# ---- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 36), (800, 600), (3000, 40), (20, 2000)])
def test_images_are_shown_at_a_size_that_suits_the_page(size):
    state = DemoState(image=Image.new("RGB", size))
    shown = draw_state(state)
    assert 640 <= max(shown.size) <= 1280 and min(shown.size) >= 1
    assert shown.width == pytest.approx(size[0] * state.scale, abs=1)


def test_marks_are_drawn_where_they_were_clicked(segmenter, predicted):
    before = np.asarray(draw_state(predicted)).astype(int)
    half = segmenter.click(predicted, "a dog", "box", (320, 240))
    changed = np.abs(np.asarray(draw_state(half)) - before).sum(2) > 0
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() - 240) < 2 and abs(columns.mean() - 320) < 2 and changed.mean() < 0.01


def test_colours_stay_while_an_answer_is_refined(segmenter, predicted):
    clicked = segmenter.click(predicted, "a dog", "inside", (5, 5))
    assert clicked.colours == predicted.colours and len(set(clicked.colours)) == 2


def test_the_legend_names_scores_and_what_is_missing(segmenter, image_file, monkeypatch):
    state = segmenter.open(image_file)
    assert describe_state(state) == ""
    state = segmenter.segment(state, "a <b>dog</b>")
    text = describe_state(state)
    assert "a &lt;b&gt;dog&lt;/b&gt;" in text and f"found <b>{state.results[0]['score']:.2f}</b>" in text
    monkeypatch.setattr(segmenter.pipeline.processor, "no_target_threshold", 0.0)
    assert "nothing found</small>" in describe_state(segmenter.segment(state, "a dog"))


def test_the_explanation_is_a_image(segmenter, predicted):
    assert segmenter.explain(predicted).width > 700


def test_the_legend_names_words_that_the_model_does_not_know(segmenter, image_file):
    state = segmenter.segment(segmenter.open(image_file), "the zyzzyva\na dog")
    legend = describe_state(state)
    assert legend.count("unknown to the model") == 1 and "unknown to the model: zyzzyva</span>" in legend


def test_half_a_character_is_a_sentence(segmenter, image_file):
    with pytest.raises(ValueError, match="is no valid Unicode"):
        segmenter.segment(segmenter.open(image_file), "the \udcff dog")


# ---- downloads and the model ----------------------------------------------------------------------------------------


def test_what_is_downloaded_is_what_was_predicted(predicted, tmp_path):
    files = {kind: save_result(predicted, "a dog", kind, tmp_path) for kind in ("mask", "cutout", "json")}
    result = predicted.results[1]
    with Image.open(files["mask"]) as mask, Image.open(files["cutout"]) as cut:
        assert np.array_equal(np.asarray(mask), np.asarray(result["mask"]))
        assert np.array_equal(np.asarray(cut), np.asarray(result.cutout(predicted.image)))
    record = json.loads(files["json"].read_text("utf-8"))
    assert (record["width"], record["height"]) == predicted.image.size
    assert [item["label"] for item in record["results"]] == ["the red car", "a dog"]
    assert record["results"][1]["mask"] == result.to_coco()["segmentation"]
    assert len({path.parent for path in files.values()}) == 3  # visitors do not write over each other's files


@pytest.mark.parametrize("expression", [None, "a bird"])
def test_there_is_nothing_to_download_before_a_prediction(predicted, tmp_path, expression):
    for state in (DemoState(), predicted):
        with pytest.raises(ValueError, match="nothing to download yet"):
            save_result(state, expression, "mask", tmp_path)


def test_the_page_says_what_the_embedded_checkpoint_knows_and_how_to_get_another(segmenter, monkeypatch):
    assert "million parameters" in describe_model(segmenter.pipeline)
    monkeypatch.setattr(segmenter.pipeline.model, "name_or_path", "<b>/models/dogs")
    assert "&lt;b&gt;/models/dogs" in describe_model(segmenter.pipeline)
    monkeypatch.setattr(segmenter.pipeline.model, "name_or_path", str(EMBEDDED_CHECKPOINT))
    text = describe_model(segmenter.pipeline)
    assert "balloon" in text and "ssp-sam pull wayneicloud/SSP-SAM" in text
