# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Odd settings, clicks and boxes at every door: within their range, or refused in one sentence."""

import math

import numpy as np
import pytest
import torch

from tests.helpers.doors import Doors
from tests.helpers.models import make_image, make_pipeline
from tests.helpers.odd_images import RESULT, SENTENCE
from tests.helpers.robustness import attempt

FRACTIONS = {"0": RESULT, "1": RESULT, "0.25": RESULT, "True": SENTENCE, "-5": SENTENCE, "1.1": SENTENCE}
FRACTIONS |= {"nan": SENTENCE, "inf": SENTENCE, "-inf": SENTENCE, "1e11": SENTENCE, "10**400": SENTENCE}
FRACTIONS |= {"1j": SENTENCE, "[]": SENTENCE, "[0.5]": SENTENCE, "{}": SENTENCE, "'high'": SENTENCE, "b'0.5'": SENTENCE}
COUNTS = {
    "0": RESULT,
    "50": RESULT,
    "True": SENTENCE,
    "-1": SENTENCE,
    "0.5": SENTENCE,
    "nan": SENTENCE,
    "inf": SENTENCE,
}
COUNTS |= {"10**11": SENTENCE, "10**400": SENTENCE, "[]": SENTENCE, "'many'": SENTENCE, "1j": SENTENCE}
PROCESSOR = {"mask_threshold": FRACTIONS, "no_target_threshold": FRACTIONS, "min_mask_pixels": COUNTS}
PIPELINE = PROCESSOR | {"expression_batch_size": COUNTS | {"0": SENTENCE}, "batch_size": COUNTS | {"0": SENTENCE}}
NAMES = {"nan": math.nan, "inf": math.inf}


@pytest.fixture(scope="module")
def doors(tiny_checkpoint) -> Doors:
    return Doors(make_pipeline(), tiny_checkpoint)


@pytest.mark.parametrize("door", ["processor", "pipeline", "handler"])
def test_robust_settings(rows, doors, door):
    ask, image = getattr(doors, door), make_image()
    for setting, values in (PIPELINE if door == "pipeline" else PROCESSOR).items():
        for text, expected in values.items():
            value = eval(text, dict(NAMES))
            if door == "handler" and setting == "min_mask_pixels" and text == "0.5":
                continue  # which reads what an address holds: half a pixel is none
            outcome = attempt(lambda setting=setting, value=value: ask(image, "a dog", **{setting: value}))
            rows.add(door, f"setting: {setting}={text}", outcome, expected)


@pytest.mark.parametrize("door", ["processor at its making", "pipeline at its making"])
def test_robust_settings_at_the_making(rows, doors, door):
    own = doors.pipe.processor
    for setting, values in PROCESSOR.items():
        for text, expected in values.items():
            options = {setting: eval(text, dict(NAMES))}
            if door.startswith("processor"):
                make, given = type(own), {"image_processor": own.image_processor, "tokenizer": own.tokenizer}
            else:
                make, given = type(doors.pipe), {"model": doors.pipe.model, "processor": own, "task": doors.pipe.task}
            outcome = attempt(lambda make=make, options={**given, **options}: make(**options), lambda _: "made")
            rows.add(door, f"setting: {setting}={text}", outcome, expected)


def test_robust_names_of_other_pipelines(rows, doors):
    image = make_image()
    for name in ("candidate_labels", "labels", "prompt", "question", "expressions", "expression"):
        outcome = attempt(lambda name=name: doors.pipeline(image, None, **{name: ["a dog", "a cat"]}))
        rows.add("pipeline", f"argument: {name}=['a dog', 'a cat']", outcome, RESULT)
        outcome = attempt(lambda name=name: doors.pipeline({"image": image, name: "a dog"}, None))
        rows.add("pipeline", f"request: {{'image': …, '{name}': 'a dog'}}", outcome, RESULT)
        outcome = attempt(lambda name=name: doors.pipeline(image, "a dog", **{name: "a cat"}))
        rows.add("pipeline", f"argument: text and {name}", outcome, SENTENCE)
    names = ("threshold", "top_k", "timeout", "points", "boxes", "mask_treshold", "batch_sizes", "subtask")
    for name in (*names, "mask_format", "hypothesis_template", "x" * 3000):
        outcome = attempt(lambda name=name: doors.pipeline(image, "a dog", **{name: 1}))
        rows.add("pipeline", f"argument: {name[:30]}", outcome, SENTENCE)


CLICKS = {
    "a click": ({"input_points": [[5, 5]]}, RESULT),
    "a click at the corner": ({"input_points": [[0, 0]]}, RESULT),
    "a click at the far corner": ({"input_points": [[40, 30]]}, RESULT),
    "clicks with labels": ({"input_points": [[5, 5], [9, 9]], "input_labels": [1, 0]}, RESULT),
    "clicks of numpy": ({"input_points": np.array([[5, 5]])}, RESULT),
    "clicks of torch": ({"input_points": torch.tensor([[5.0, 5.0]])}, RESULT),
    "a box": ({"input_boxes": [1, 1, 20, 20]}, RESULT),
    "a box and a click": ({"input_boxes": [1, 1, 20, 20], "input_points": [[5, 5]]}, RESULT),
    "a click outside": ({"input_points": [[500, 5]]}, SENTENCE),
    "a click at -1": ({"input_points": [[-1, 5]]}, SENTENCE),
    "a click at NaN": ({"input_points": [[math.nan, 5]]}, SENTENCE),
    "a click at infinity": ({"input_points": [[math.inf, 5]]}, SENTENCE),
    "a click at 10**400": ({"input_points": [[10**400, 5]]}, SENTENCE),
    "a click of three numbers": ({"input_points": [[1, 2, 3]]}, SENTENCE),
    "a click of text": ({"input_points": [["a", "b"]]}, SENTENCE),
    "a number as clicks": ({"input_points": 5}, SENTENCE),
    "clicks without values": ({"input_points": torch.zeros(1, 2, device="meta")}, SENTENCE),
    "a label 2": ({"input_points": [[5, 5]], "input_labels": [2]}, SENTENCE),
    "too many labels": ({"input_points": [[5, 5]], "input_labels": [1, 0]}, SENTENCE),
    "labels without clicks": ({"input_labels": [1]}, SENTENCE),
    "a box without area": ({"input_boxes": [5, 5, 5, 5]}, SENTENCE),
    "a box the wrong way round": ({"input_boxes": [9, 9, 2, 2]}, SENTENCE),
    "a box outside": ({"input_boxes": [1, 1, 900, 900]}, SENTENCE),
    "a box of NaN": ({"input_boxes": [math.nan] * 4}, SENTENCE),
    "a box of three numbers": ({"input_boxes": [1, 2, 3]}, SENTENCE),
    "a box of text": ({"input_boxes": "abcd"}, SENTENCE),
    "a box of 10**400": ({"input_boxes": [0, 0, 10**400, 5]}, SENTENCE),
}
IN_REQUESTS = {"input_points": "points", "input_labels": "point_labels", "input_boxes": "boxes"}


@pytest.mark.parametrize("door", ["pipeline", "handler"])
def test_robust_clicks(rows, doors, door):
    for name, (given, expected) in CLICKS.items():
        if door == "handler":
            given = {IN_REQUESTS[key]: value for key, value in given.items()}
            if not all(isinstance(value, list | int | str) for value in given.values()):
                continue
        outcome = attempt(lambda given=given: getattr(doors, door)(make_image(), "a dog", **given))
        rows.add(door, f"clicks: {name}", outcome, expected)


TEXTS = {
    "a tuple": (("a dog", "a cat"), RESULT),
    "the same twice": (["a dog", "a dog"], RESULT),
    "1,001 expressions": (["a dog"] * 1001, SENTENCE),
    "100,000 expressions": (["a dog"] * 100_000, SENTENCE),
    "an empty list": ([], SENTENCE),
    "a list of an empty list": ([[]], SENTENCE),
    "a list with None": (["a dog", None], SENTENCE),
    "a list with an empty one": (["a dog", ""], SENTENCE),
    "a list of lists of lists": ([[["a dog"]]], SENTENCE),
    "None": (None, SENTENCE),
    "a number": (7, SENTENCE),
    "bytes": (b"a dog", SENTENCE),
    "a dict": ({"text": "a dog"}, SENTENCE),
    "a set": ({"a dog"}, SENTENCE),
}


@pytest.mark.parametrize("door", ["processor", "pipeline", "handler"])
def test_robust_kinds_of_text(rows, doors, door):
    for name, (text, expected) in TEXTS.items():
        expected = RESULT if (door, name) == ("handler", "a tuple") else expected
        outcome = attempt(lambda text=text: getattr(doors, door)(make_image(), text))
        rows.add(door, f"text: {name}", outcome, None if isinstance(text, tuple) else expected)
