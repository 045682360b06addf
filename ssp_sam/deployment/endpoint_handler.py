# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Answers the requests of a Hugging Face Inference Endpoint: an image and expressions in, masks as JSON out.

The exporter copies this file into a model repository as `handler.py`, with `endpoint_images.py` beside it, where the
package is not installed: they import nothing else of it, and the classes come from the repository's own code or else
from an installed `ssp_sam`.
"""

import base64
import contextlib
import importlib
import io
import json
import math
import os
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image
from transformers import pipeline

from .endpoint_images import EndpointLimits, PayloadError, read_image, shown

# Under which names clients send expressions: the last two are those of `InferenceClient`.
TEXT_NAMES = ("text", "expressions", "expression", "candidate_labels", "question")
SPATIAL_NAMES = {"points": "input_points", "point_labels": "input_labels", "boxes": "input_boxes"}
THRESHOLD_NAMES = ("mask_threshold", "no_target_threshold", "min_mask_pixels", "threshold")
NAMES = ("image", *TEXT_NAMES, *SPATIAL_NAMES, *THRESHOLD_NAMES, "mask_format")
MASK_FORMATS = ("png", "rle")
MAX_SPATIAL_NUMBERS = 10_000
HELD_MASK_PIXELS = 50_000_000


class EndpointHandler:
    """
    Segments what requests ask for, in as many threads as the server likes.

    Args:
        path (`str`): Folder of a model, such as an exported repository.
        limits (`EndpointLimits`, *optional*): Those of the environment when not given.
        trust_remote_code (`bool`, *optional*): Whether code of the folder may run in place of an installed `ssp_sam`;
            when not given, it does where there is some.
    """

    def __init__(self, path: str = "", limits: EndpointLimits | None = None, trust_remote_code: bool | None = None):
        self.limits = EndpointLimits.from_environment() if limits is None else limits
        self.pipeline = _load_pipeline(path or ".", trust_remote_code)
        # Tokenizers cannot be shared by threads, and parallel passes of one model would only share its processor.
        self._lock = threading.Lock()
        self.predict = self._predict  # in place of which a server puts a pass of many requests

    def __call__(self, data: Any) -> list[dict[str, Any]]:
        """
        Answers one request.

        Args:
            data: `{"inputs": {"image": …, "text": …}}` or `{"inputs": image, "parameters": {"text": …}}`. The image is
                base64 with or without the prefix of a data URL, an http(s) URL, bytes or a PIL image; the text one
                expression or a list. Beside the text there may be `points` (`[[x, y], …]` for all expressions, or one
                such list each), `point_labels`, `boxes` (all in pixels of the upright image), `mask_threshold`,
                `no_target_threshold`, `min_mask_pixels`, `threshold` (predictions of a lower score are left out) and
                `mask_format`, `"png"` or `"rle"`.

        Returns:
            One dict per expression: `label`, `score`, `mask` (a black and white PNG as base64, or COCO's run lengths),
            `box` (`xmin`, `ymin`, `xmax`, `ymax` or None), `no_target`, and `unknown_words`, which the tokenizer does
            not know.

        Raises:
            PayloadError: If the request is wrong; the message is for the client.
        """
        given = _collect(data)
        texts = _read_texts(given, self.limits)
        options = _read_options(given)
        image = read_image(given["image"], self.limits)
        mask_format, threshold = options.pop("mask_format"), options.pop("threshold", 0.0)
        try:
            return [
                {
                    "label": result["label"],
                    "score": float(result["score"]),
                    "mask": _png(result["mask"]) if mask_format == "png" else result.window.run_lengths(),
                    "box": result["box"],
                    "no_target": bool(result["no_target"]),
                    "unknown_words": list(result["unknown_words"]),
                }
                for result in self._segment(image, texts, options)
                if result["score"] >= threshold
            ]
        except (ValueError, TypeError) as error:
            raise PayloadError(_sentence(error)) from error

    def _segment(self, image: Image.Image, texts: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What the pipeline returns, except that few masks of a large image are held at once."""
        thresholds = {name: options.pop(name) for name in THRESHOLD_NAMES if name in options}
        found = self.predict({"image": image, "text": texts, **options})
        number = max(1, HELD_MASK_PIXELS // (image.width * image.height))
        for part in (slice(start, start + number) for start in range(0, len(texts), number)):
            own = {name: found[name][part] for name in ("labels", "clicked")}
            own |= {"outputs": {name: rows[part] for name, rows in found["outputs"].items()}}
            with self._lock:
                results = self.pipeline.postprocess({"images": [found | own]}, **thresholds)
            yield from results

    def _predict(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            (found,) = self.pipeline.forward(self.pipeline.preprocess(request))["images"]
        return found


def _load_pipeline(path: str, trust_remote_code: bool | None):
    """The pipeline of a folder: with the code beside the weights where that may run, else with the package."""
    if trust_remote_code is None:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            trust_remote_code = "auto_map" in json.load(file)
    if not trust_remote_code:
        importlib.import_module("ssp_sam")
    return pipeline("referring-segmentation", model=path, trust_remote_code=trust_remote_code)


# ---- what is asked for ------------------------------------------------------------------------------------------


def _collect(data: Any) -> dict[str, Any]:
    """The fields of a request by name, wherever in it they stand."""
    data = data if isinstance(data, dict) else {"inputs": data}
    inputs, parameters = data.get("inputs"), data.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise PayloadError(f"expected 'parameters' as an object, got {shown(parameters)}")
    if isinstance(inputs, list):
        raise PayloadError(f"expected one image in 'inputs', got a list of {len(inputs)}; send a request for each")
    beside = {name: value for name, value in data.items() if name not in ("inputs", "parameters")}
    given: dict[str, Any] = {}
    for source in (inputs if isinstance(inputs, dict) else {"image": inputs}, parameters or {}, beside):
        for name, value in source.items():
            if name not in NAMES:
                raise PayloadError(f"unknown field {shown(name)}; known are {', '.join(NAMES)}")
            if value is None:
                continue
            if name in given and given[name] != value:
                raise PayloadError(f"got {name!r} twice with different values; send it once")
            given[name] = value
    if "image" not in given:
        raise PayloadError("expected an image as 'inputs' or as 'image' in it, got none")
    return given


def _read_texts(given: dict[str, Any], limits: EndpointLimits) -> list[str]:
    names = [name for name in TEXT_NAMES if name in given]
    if len(names) != 1:
        found = " and ".join(names) or "none"
        raise PayloadError(f"expected 'text' with one expression or a list of them, got {found}")
    texts = [given[names[0]]] if isinstance(given[names[0]], str) else given[names[0]]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise PayloadError(f"expected {names[0]!r} as a string or a list of strings, got {shown(given[names[0]])}")
    if len(texts) > limits.max_expressions:
        raise PayloadError(f"expected at most {limits.max_expressions} expressions in a request, got {len(texts)}")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise PayloadError(f"expected words in expression {number}, got {text!r}")
    return texts


def _read_options(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the pipeline, together with `threshold` and `mask_format`."""
    options: dict[str, Any] = {"mask_format": given.get("mask_format", "png")}
    if options["mask_format"] not in MASK_FORMATS:
        raise PayloadError(f"expected 'mask_format' {' or '.join(MASK_FORMATS)}, got {shown(options['mask_format'])}")
    for name in THRESHOLD_NAMES:
        if name in given:
            limit = 2**31 if name == "min_mask_pixels" else 1
            number = _number(given[name], name)
            if not 0 <= number <= limit:
                raise PayloadError(f"expected {name!r} between 0 and {limit}, got {shown(given[name])}")
            options[name] = int(number) if name == "min_mask_pixels" else number
    for name, argument in SPATIAL_NAMES.items():
        if name in given:
            numbers = given[name]
            if isinstance(numbers, str):  # parameters in the query of a URL
                with contextlib.suppress(ValueError, RecursionError):
                    numbers = json.loads(numbers)
            if not isinstance(numbers, list):
                raise PayloadError(f"expected {name!r} as a list of numbers, in JSON, got {shown(given[name])}")
            _check_numbers(numbers, name)
            options[argument] = numbers
    return options


def _number(value: Any, name: str) -> float:
    # Parameters in the query of a URL arrive as strings.
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PayloadError(f"expected a number as {name!r}, got {shown(value)}")
    return number


def _check_numbers(value: list, name: str) -> None:
    pending, count = list(value), 0
    while pending:
        item = pending.pop()
        count += 1
        if count > MAX_SPATIAL_NUMBERS:
            raise PayloadError(f"expected at most {MAX_SPATIAL_NUMBERS} numbers in {name!r}, got more")
        if isinstance(item, list):
            pending += item
        elif isinstance(item, str) or (item is not None and not math.isfinite(_number(item, name))):
            raise PayloadError(f"expected lists of numbers as {name!r}, got {shown(item)} in them")


# ---- predictions ----------------------------------------------------------------------------------------------------


def _png(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.convert("L").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
