# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The handler of Inference Endpoints: what it accepts, what it answers, and what it refuses."""

import ast
import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssp_sam
from ssp_sam.deployment import endpoint_handler
from ssp_sam.deployment.endpoint_handler import EndpointHandler
from ssp_sam.deployment.endpoint_images import EndpointLimits, PayloadError
from ssp_sam.deployment.standalone import write_standalone
from tests.helpers.models import make_image

ROOT = Path(__file__).resolve().parents[3]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PNG = encoded(make_image(48, 36))
BASE64 = base64.b64encode(PNG).decode()


@pytest.fixture(scope="module")
def handler(tiny_checkpoint) -> EndpointHandler:
    handler = EndpointHandler(tiny_checkpoint)
    handler.pipeline.processor.no_target_threshold = 1.0
    return handler


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) > 127


# ---- images and expressions -----------------------------------------------------------------------------------------


def test_the_answer_is_the_pipelines_as_json(handler):
    answers = handler({"inputs": {"image": BASE64, "text": ["the red car", "a dog"]}})
    expected = handler.pipeline(make_image(48, 36), ["the red car", "a dog"])
    assert json.loads(json.dumps(answers)) == answers
    for answer, result in zip(answers, expected, strict=True):
        for key in ("label", "score", "box", "no_target", "unknown_words"):
            assert answer[key] == result[key], key
        assert np.array_equal(decoded(answer["mask"]), np.asarray(result["mask"]) > 0)


def test_masks_of_a_large_image_are_made_in_parts(handler, monkeypatch):
    data = {"inputs": {"image": BASE64, "text": ["the red car", "a dog", "a cup"], "boxes": [None, [1, 2, 9, 9], None]}}
    at_once, asked = handler(data), []
    postprocess = handler.pipeline.postprocess
    monkeypatch.setattr(endpoint_handler, "HELD_MASK_PIXELS", 2 * 48 * 36)
    monkeypatch.setattr(
        handler.pipeline, "postprocess", lambda found, **how: asked.append(found) or postprocess(found, **how)
    )
    assert handler(data) == at_once
    assert [found["images"][0]["labels"] for found in asked] == [["the red car", "a dog"], ["a cup"]]


@pytest.mark.parametrize(
    "data",
    [
        {"inputs": {"image": BASE64, "text": "a dog"}},
        {"inputs": {"image": BASE64, "text": ["a dog"]}},
        {"inputs": {"image": BASE64}, "parameters": {"text": "a dog"}},
        {"inputs": {"image": BASE64}, "parameters": {"candidate_labels": ["a dog"]}},
        {"inputs": BASE64, "parameters": {"expressions": ["a dog"]}},
        {"inputs": BASE64, "parameters": {}, "question": "a dog", "image": BASE64},
        {"inputs": f"data:image/png;base64,{BASE64}", "parameters": {"text": "a dog"}},
        {"inputs": "\n".join(re.findall(".{1,76}", BASE64)), "parameters": {"text": "a dog"}},
        {"inputs": base64.urlsafe_b64encode(PNG).decode().rstrip("="), "parameters": {"text": "a dog"}},
        {"inputs": PNG, "parameters": {"text": "a dog"}},
        {"inputs": make_image(48, 36), "parameters": {"text": "a dog", "threshold": None}},
    ],
    ids=lambda data: " ".join(f"{type(value).__name__}" for value in data.values()),
)
def test_every_form_of_request_gives_the_same_answer(handler, data):
    assert handler(data) == handler({"inputs": {"image": BASE64, "text": "a dog"}})


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_kinds_of_files_are_read(handler, kind):
    (answer,) = handler({"inputs": encoded(make_image(20, 30), kind), "parameters": {"text": "a dog"}})
    assert decoded(answer["mask"]).shape == (30, 20)


def test_points_boxes_and_thresholds_reach_the_pipeline(handler):
    image, texts = make_image(48, 36), ["a dog", "a cat"]
    spatial = {"points": [[[5, 5], [30, 20]], None], "point_labels": [[1, 0], None], "boxes": [2, 2, 20, 20]}
    answers = handler({"inputs": {"image": BASE64, "text": texts, **spatial}, "parameters": {"mask_threshold": "0.4"}})
    arguments = {f"input_{name.removeprefix('point_')}": value for name, value in spatial.items()}
    expected = handler.pipeline(image, texts, **arguments, mask_threshold=0.4)
    assert [answer["score"] for answer in answers] == [result["score"] for result in expected]
    in_a_query = {name: json.dumps(value) for name, value in spatial.items()}
    query = {"text": texts, **in_a_query, "mask_threshold": "0.4"}
    assert handler({"inputs": BASE64, "parameters": query}) == answers
    for answer in answers:
        assert tuple(answer["box"].values()) == Image.fromarray(decoded(answer["mask"])).getbbox()
    assert answers != handler({"inputs": {"image": BASE64, "text": texts}})


def test_answers_below_the_threshold_are_left_out(handler):
    answers = handler({"inputs": {"image": BASE64, "text": ["a dog", "a cat", "a bird"]}})
    middle = sorted(answer["score"] for answer in answers)[1]
    kept = handler({"inputs": {"image": BASE64, "text": ["a dog", "a cat", "a bird"], "threshold": middle}})
    assert kept == [answer for answer in answers if answer["score"] >= middle] and len(kept) == 2


def test_run_lengths_and_png_are_the_same_mask(handler):
    inputs = {"image": BASE64, "text": ["a dog", "the red car"]}
    for answer, other in zip(handler({"inputs": inputs}), handler({"inputs": {**inputs, "mask_format": "rle"}})):
        size, counts = other["mask"]["size"], other["mask"]["counts"]
        pixels = np.repeat(np.arange(len(counts)) % 2, counts).reshape(size[::-1]).T
        assert size == [36, 48] and np.array_equal(pixels, decoded(answer["mask"]))


def test_what_is_not_there_has_an_empty_mask_and_no_box(handler, monkeypatch):
    monkeypatch.setattr(handler.pipeline.processor, "no_target_threshold", 0.0)
    (answer,) = handler({"inputs": {"image": BASE64, "text": "a dog"}})
    assert answer["no_target"] and answer["box"] is None and not decoded(answer["mask"]).any()


# ---- wrong requests -------------------------------------------------------------------------------------------------


def text_of(**fields):
    return {"inputs": {"image": BASE64, "text": "a dog", **fields}}


@pytest.mark.parametrize(
    "data, message",
    [
        (None, "expected an image as 'inputs' or as 'image' in it, got none"),
        ({}, "expected an image as 'inputs' or as 'image' in it, got none"),
        ({"inputs": {"text": "a dog"}}, "expected an image as 'inputs' or as 'image' in it, got none"),
        ({"inputs": BASE64}, "expected 'text' with one expression or a list of them, got none"),
        ({"inputs": [BASE64], "parameters": {"text": "a"}}, "expected one image in 'inputs', got a list of 1"),
        ({"inputs": BASE64, "parameters": "a dog"}, "expected 'parameters' as an object, got 'a dog'"),
        (text_of(text=""), "expected words in expression 1, got ''"),
        (text_of(text=["a dog", " \n"]), "expected words in expression 2"),
        (text_of(text=[]), r"expected 'text' as a string or a list of strings, got \[\]"),
        (text_of(text=[7]), r"expected 'text' as a string or a list of strings, got \[7\]"),
        (text_of(text=["a"] * 101), "expected at most 100 expressions in a request, got 101"),
        (text_of(question="a dog"), "expected 'text' with one expression or a list of them, got text and question"),
        ({**text_of(), "parameters": {"text": "a cat"}}, "got 'text' twice with different values"),
        (text_of(colour="red"), "unknown field 'colour'; known are image, text"),
        (text_of(mask_threshold=1.5), "expected 'mask_threshold' between 0 and 1, got 1.5"),
        (text_of(threshold="high"), "expected a number as 'threshold', got 'high'"),
        (text_of(mask_threshold=True), "expected a number as 'mask_threshold', got True"),
        (text_of(min_mask_pixels=-1), "expected 'min_mask_pixels' between 0 and"),
        (text_of(mask_format="svg"), "expected 'mask_format' png or rle, got 'svg'"),
        (text_of(points=5), "expected 'points' as a list of numbers, in JSON, got 5"),
        (text_of(points="5,5"), "expected 'points' as a list of numbers, in JSON, got '5,5'"),
        (text_of(points=[["a", 5]]), "expected lists of numbers as 'points', got 'a' in them"),
        (text_of(points=[[5, float("nan")]]), "expected a number as 'points', got nan"),
        (text_of(points=[[500, 5]]), r"\(500, 5\), a point of expression 0, lies outside its image"),
        (text_of(points=[[1, 1]] * 9000), "expected at most 10000 numbers in 'points', got more"),
        (text_of(point_labels=[1]), "expected input_points beside input_labels"),
        (text_of(boxes=[9, 9, 2, 2]), r"must be \[x0, y0, x1, y1\] with x0 < x1"),
        (text_of(image=5), "expected the image as base64 or URL, got 5"),
        (text_of(image="no base64!"), "expected an image in base64 or its URL, got the text 'no base64!'"),
        (text_of(image="/etc/passwd"), "could not read an image from 8 bytes"),
        (text_of(image="file:///etc/passwd"), "expected an http or https URL, got 'file:///etc/passwd'"),
        (text_of(image="data:image/svg+xml,<svg/>"), "expected a data URL with ';base64,'"),
        (
            text_of(image=base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0").decode()),
            "could not read an image from 23",
        ),
        (
            text_of(image=base64.b64encode(PNG[:-500]).decode()),
            "could not decode the image",
        ),
        (text_of(image=PNG + bytes(20_000_000)), "expected an image file of at most 20 MB, got 200"),
        (text_of(image=encoded(Image.new("1", (10_000, 5_001)))), "at most 50 megapixels, got 10000 x 5001"),
    ],
)
def test_wrong_requests_are_told_in_a_sentence(handler, data, message):
    with pytest.raises(PayloadError, match=message) as caught:
        handler(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_request_is_not_changed(handler):
    data = {"inputs": {"image": BASE64, "text": ["a dog"]}, "parameters": {"mask_format": "rle"}}
    before = json.dumps(data)
    handler(data)
    assert json.dumps(data) == before


# ---- limits from the environment ------------------------------------------------------------------------------------


def test_limits_come_from_the_environment(monkeypatch):
    assert EndpointLimits.from_environment() == EndpointLimits()
    monkeypatch.setenv("SSP_SAM_URL_TIMEOUT", "2.5")
    monkeypatch.setenv("SSP_SAM_MAX_EXPRESSIONS", "3")
    monkeypatch.setenv("SSP_SAM_ALLOW_PRIVATE_URLS", "1")
    limits = EndpointLimits.from_environment()
    assert limits == EndpointLimits(url_timeout=2.5, max_expressions=3, allow_private_urls=True)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("URL_TIMEOUT", "soon", "expected a number above 0 in SSP_SAM_URL_TIMEOUT, got 'soon'"),
        ("MAX_EXPRESSIONS", "0", "expected a number above 0 in SSP_SAM_MAX_EXPRESSIONS, got '0'"),
        ("ALLOW_PRIVATE_URLS", "yes", "expected 0 or 1 in SSP_SAM_ALLOW_PRIVATE_URLS, got 'yes'"),
    ],
)
def test_a_wrong_limit_stops_the_start(monkeypatch, name, value, message):
    monkeypatch.setenv(f"SSP_SAM_{name}", value)
    with pytest.raises(ValueError, match=message):
        EndpointLimits.from_environment()


# ---- without the package --------------------------------------------------------------------------------------------


def test_the_handler_needs_neither_the_package_nor_other_libraries(tmp_path):
    write_standalone(ROOT / "ssp_sam/deployment/endpoint_handler.py", tmp_path / "handler.py")
    files = {path.stem: ast.parse(path.read_text("utf-8")) for path in tmp_path.iterdir()}
    assert set(files) == {"handler", "endpoint_images", "image_addresses", "image_files"}
    imports = [
        node for tree in files.values() for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not any(node.level for node in imports if isinstance(node, ast.ImportFrom))
    names = {name.split(".")[0] for node in imports for name in modules(node)}
    assert names - set(sys.stdlib_module_names) - set(files) == {"numpy", "PIL", "transformers"}


def modules(node) -> list[str]:
    return [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def test_the_requirements_are_those_of_the_package():
    setup = (ROOT / "setup.py").read_text("utf-8")
    lines = (ROOT / "ssp_sam/deployment/endpoint_requirements.txt").read_text("utf-8").split()
    assert [line for line in lines if f'"{line}"' not in setup] == []
    assert {re.split("[<>=]", line)[0] for line in lines} >= {"numpy", "pillow", "torch", "transformers"}


def test_a_folder_without_code_is_served_by_the_package():
    assert EndpointHandler(str(ssp_sam.EMBEDDED_CHECKPOINT)).pipeline.model.config.model_type == "ssp_sam"
