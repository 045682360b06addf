# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Odd expressions at every door: read as they are, or refused in one sentence."""

import pytest

from ssp_sam.processing.visualization.overlay import draw_overlay
from tests.helpers.doors import Doors
from tests.helpers.models import make_image, make_pipeline
from tests.helpers.robustness import attempt

RESULT, SENTENCE = "result", "sentence"
# Name, expression, what must come of it.
TEXTS = [
    ("a word", "dog", RESULT),
    ("capitals", "THE RED CAR", RESULT),
    ("punctuation", "the dog, left; of (the) car?!", RESULT),
    ("a line break", "the red\ncar", RESULT),
    ("a tab and many spaces", "  the\t red    car ", RESULT),
    ("600 words", "the red car " * 200, RESULT),
    ("10,000 characters", "car " * 2500, RESULT),
    ("10,001 characters", "car " * 2500 + "s", SENTENCE),
    ("4 million characters", "car " * 1_000_000, SENTENCE),
    ("one word of 9,999 characters", "a" * 9_999, RESULT),
    ("one word of a million characters", "a" * 1_000_000, SENTENCE),
    ("one letter with 5,000 accents", "e" + "\u0301" * 5000, RESULT),
    ("accents alone", "\u0301" * 20, RESULT),
    ("9,000 joined emoji", "\U0001f468\u200d" * 4500, RESULT),
    ("emoji", "\U0001f697", RESULT),
    ("Chinese", "红色的汽车", RESULT),
    ("Arabic", "السيارة الحمراء", RESULT),
    ("Hebrew with marks of direction", "\u202bמכונית\u202c", RESULT),
    ("a dotless i and a sharp s", "ıİßẞ", RESULT),
    ("mathematical letters", "𝔱𝔥𝔢 𝔡𝔬𝔤", RESULT),
    ("a byte order mark before it", "\ufeffthe dog", RESULT),
    ("a NUL in it", "the\0dog", RESULT),
    ("a bell in it", "the\adog", RESULT),
    ("an escape sequence of terminals", "\x1b[31mthe dog\x1b[0m", RESULT),
    ("HTML", "<script>alert(1)</script>", RESULT),
    ("braces", "{} {0} {text}", RESULT),
    ("a percent sign", "%s %d %n", RESULT),
    ("special tokens", "[CLS] [SEP] [MASK] [PAD]", RESULT),
    ("a number", "42", RESULT),
    ("an address", "http://example.com/a.png", RESULT),
    ("noncharacters", "dog \ufffe\uffff", RESULT),
    ("private use", "dog \ue000\U0010ffff", RESULT),
    ("nothing", "", SENTENCE),
    ("spaces", "   ", SENTENCE),
    ("line breaks", "\n\n", SENTENCE),
    ("spaces without width", "\u200b\u200b\ufeff", SENTENCE),
    ("spaces of other widths", "\u2003\u3000", SENTENCE),
    ("control characters", "\0\x01\x7f", SENTENCE),
    ("half a character", "the \ud83d dog", SENTENCE),
    ("the other half", "the \ude97 dog", SENTENCE),
    ("bytes that are no UTF-8, as Python reads them", "the \udcff dog", SENTENCE),
]


@pytest.fixture(scope="module")
def doors(tiny_checkpoint) -> Doors:
    return Doors(make_pipeline(), tiny_checkpoint)


@pytest.mark.parametrize("door", ["processor", "pipeline", "explain", "handler", "demo", "ONNX script"])
def test_robust_expressions(rows, doors, door, tmp_path):
    make_image().save(tmp_path / "photo.png")
    ask = doors.onnx if door == "ONNX script" else getattr(doors, door)
    image = str(tmp_path / "photo.png") if door == "demo" else make_image()
    for name, text, expected in TEXTS[:: 3 if door == "explain" else 1]:  # which draws each
        rows.add(door, f"expression: {name}", attempt(lambda text=text: ask(image, text)), expected)


def test_robust_words_of_an_overlay(rows):
    image = make_image()
    for name, text, _ in TEXTS:  # a caller's own results may hold anything
        result = {"mask": image.convert("L"), "score": 0.5, "box": None, "label": text, "no_target": False}
        outcome = attempt(
            lambda result=result: draw_overlay(image, [result]), lambda drawing: f"{drawing.width} pixels wide"
        )
        rows.add("overlay", f"words: {name}", outcome, RESULT)
