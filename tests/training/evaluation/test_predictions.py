# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Predictions on disk: written whole, found by source, reference and sentence, and checked before they are used."""

import json

import pytest

from ssp_sam.training.data.masks import encode
from ssp_sam.training.evaluation.predictions import SavedPredictions, write_predictions
from tests.helpers.evaluation import image_of, item_of, rectangle

MASK = rectangle((8, 8), 0, 0, 4, 4)
GOOD = {"ref_id": "ref 0", "segmentation": encode(MASK)}


@pytest.fixture
def saved(tmp_path):
    """Reads predictions that a file holds."""

    def read(content) -> SavedPredictions:
        path = tmp_path / "predictions.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return SavedPredictions(path)

    return read


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "predictions.json"
    with write_predictions(path, {"dataset": "pets", "settings": {"canvas_size": 32}}) as write:
        write([{"ref_id": "ä", "segmentation": None}, GOOD])
        assert not path.exists()
    saved = SavedPredictions(path)
    assert len(saved) == 2 and saved.info["dataset"] == "pets" and saved.info["settings"] == {"canvas_size": 32}
    with pytest.raises(RuntimeError), write_predictions(path, {}) as write:
        write([GOOD])
        raise RuntimeError("killed")
    assert len(SavedPredictions(path)) == 2 and [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_prediction_is_found_by_reference_and_sentence_and_by_source_where_it_tells(saved):
    item = item_of(MASK)
    predictions = saved([GOOD, {**GOOD, "sentence": 1}, {**GOOD, "source": "elsewhere"}, {**GOOD, "ref_id": 7}])
    assert predictions.take(image_of(item), item) == GOOD
    assert predictions.take(image_of(item)._replace(source="elsewhere"), item)["source"] == "elsewhere"
    assert predictions.take(image_of(item), item._replace(sentence=2)) is None
    assert predictions.take(image_of(item), item._replace(ref_id="7"))["ref_id"] == 7
    assert len(predictions.used) == 3
    assert saved([{**GOOD, "segmentation": None}]).take(image_of(item), item) is None


def test_a_prediction_about_another_image_is_refused(saved):
    item = item_of(MASK)
    assert saved([{**GOOD, "image_id": "a"}]).take(image_of(item, image_id="a"), item)
    with pytest.raises(ValueError, match="it is about image 'b'"):
        saved([{**GOOD, "image_id": "b"}]).take(image_of(item, image_id="a"), item)


def test_a_reference_that_sources_share_needs_the_source(saved):
    saved([{**GOOD, "source": "own"}]).check_sources({"ref 0"})
    with pytest.raises(ValueError, match="several sources of the data have a reference 'ref 0'"):
        saved([GOOD]).check_sources({"ref 0"})


REFUSED = {
    "cut off": ("{", "cannot read predictions from"),
    "no list": ({"masks": []}, "must hold an object with a list 'predictions'"),
    "no mask": ([GOOD, {"ref_id": "0"}], "prediction 1 of .* needs 'ref_id' and 'segmentation'"),
    "twice": ([GOOD, GOOD], "two predictions for sentence 0 of reference 'ref 0'"),
    "runs": ([{**GOOD, "segmentation": {"size": [8, 8], "counts": [7]}}], "'segmentation'.*add up to"),
    "mask as text": ([{**GOOD, "segmentation": "all"}], "prediction 0 of"),
    "box": ([{**GOOD, "box_xyxy": [1, 2]}], r"'box_xyxy' must be 4 numbers, got \[1, 2\]"),
    "score": ([{**GOOD, "score": 7}], "'score' must lie in 0..1, got 7"),
    "sentence": ([{**GOOD, "sentence": "first"}], "needs a whole number 'sentence', got 'first'"),
    "source": ([{**GOOD, "source": ["own"]}], r"'source' must be text, got \['own'\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_predictions_are_refused_by_number(name, saved):
    content, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        saved(content)


def test_masks_may_be_lists_of_runs(saved):
    item = item_of(MASK)
    runs = {"size": [8, 8], "counts": [0, 64]}
    assert saved([{**GOOD, "segmentation": runs}]).take(image_of(item), item)["segmentation"] == runs
