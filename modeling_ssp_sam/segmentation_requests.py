# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a user asks of the pipeline, brought to one form.

A request is an image together with its expressions: a dict with `image`, `text` (a list of strings) and, where given,
`input_points`, `input_labels` and `input_boxes`, each a list with one entry (or None) per expression.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

# The last of them are what other pipelines call it.
TEXT_KEYS = ("text", "expressions", "expression", "candidate_labels", "labels", "prompt", "question")
# Of other pipelines, and what to give here in their place.
FOREIGN_NAMES = {
    "threshold": "mask_threshold (of a pixel) or no_target_threshold, or leave out results of a low score",
    "top_k": "as many expressions as you want masks, each of which gets one",
    "timeout": "the bytes of an image that takes long to load",
    "points": "input_points",
    "point_labels": "input_labels",
    "boxes": "input_boxes",
    "box": "input_boxes",
    "mask_format": "nothing, since masks are PIL images",
    "subtask": "nothing, since there is one task",
    "input_masks": "input_points or input_boxes; masks are taken by SspSamProcessor and SspSamModel",
}
SPATIAL_KEYS = ("input_points", "input_labels", "input_boxes")
# Levels of lists in what belongs to one expression: [[x, y], ...], [label, ...] and [xmin, ymin, xmax, ymax].
DEPTHS = {"input_points": 2, "input_labels": 1, "input_boxes": 1}


def as_request(item, text=None, where: str = "", **spatial) -> dict[str, Any]:
    """
    Makes a request out of an image or of a dict that a user calls a request; a request stays as it is.

    Args:
        item: an image, or a dict with `image`, expressions under one of `TEXT_KEYS`, and perhaps `SPATIAL_KEYS`.
        text: the expressions, when `item` has none.
        where: where the item stands, for messages, such as " of image 2".
        spatial: clicks and boxes beside those in `item`.

    Raises:
        ValueError, TypeError: If the image or its expressions are missing, blank, or given twice.
    """
    request = dict(item) if isinstance(item, Mapping) and not _is_undecoded(item) else {"image": item}
    if request.get("image") is None:
        raise ValueError(f"expected a dict with 'image' and 'text'{where}, got the keys {sorted(map(str, request))}")
    if isinstance(request["image"], (list, tuple)):
        raise ValueError(f"expected one image in a dict{where}, got {len(request['image'])}; give a list of dicts")
    texts = [as_texts(request[key]) for key in TEXT_KEYS if request.get(key) is not None]
    texts += [] if text is None else [as_texts(text)]
    if len(texts) != 1:
        raise ValueError(f"expected expressions{where} once, as text=... or in the dict, got them {len(texts)} times")
    if not is_text(texts[0]):
        raise TypeError(f"expected a string or a list of strings as expressions{where}, got {texts[0]!r:.80}")
    expressions = [texts[0]] if isinstance(texts[0], str) else list(texts[0])
    if not expressions:
        raise ValueError(f"expected at least one expression{where}, got an empty list")
    for number, expression in enumerate(expressions, start=1):
        if not expression.strip():
            raise ValueError(f"expected words in expression {number}{where}, got {expression!r}")
    prompts = given({**{key: request.get(key) for key in SPATIAL_KEYS}, **spatial})
    prompts = {name: value for name, value in prompts.items() if not (isinstance(value, (list, tuple)) and not value)}
    if "input_labels" in prompts and "input_points" not in prompts:
        raise ValueError(f"expected input_points beside input_labels{where}, got None")
    prompts = {name: _one_per_expression(name, value, len(expressions)) for name, value in prompts.items()}
    return {"image": request["image"], "text": expressions, **prompts}


def only_read(item: Any, settings: Sequence[str], where: str = "") -> Any:
    """
    Returns an image or request as it is; a `TypeError` for a field that looks as if it were read, and is not.

    Args:
        item: What a user wrote; rows of a dataset may have columns of such names for other ends.
        settings: What is an argument of the call.
        where: As in `as_request`.
    """
    for name in item if isinstance(item, Mapping) else ():
        if name in settings:
            raise TypeError(f"a request has no field {name!r}{where}; give it as an argument of the call, for all")
        if name in FOREIGN_NAMES:
            raise TypeError(f"a request has no field {name!r}{where}; give {FOREIGN_NAMES[name]}")
    return item


def as_list(values: Any) -> Any:
    """Returns a batch of images in one array, or a column or table of numpy or pandas, as a list; else what came."""
    if hasattr(values, "to_dict") and hasattr(values, "columns"):
        return values.to_dict("records")
    if isinstance(values, (np.ndarray, torch.Tensor)):
        if values.ndim == 4:
            return list(values)
        is_column = values.ndim == 1 and isinstance(values, np.ndarray) and values.dtype.kind in "OUT"
        return values.tolist() if is_column else values
    is_bytes = isinstance(values, (bytes, bytearray, memoryview))
    return values.tolist() if hasattr(values, "tolist") and not is_bytes else values


def as_texts(text: Any) -> Any:
    """Returns expressions in a sequence of any kind, or in a column of a table, as a list; a string as it is."""
    return list(text) if isinstance(text, Sequence) and not isinstance(text, (str, bytes)) else as_list(text)


def texts_per_image(text, num_images: int) -> list:
    """One entry of expressions per image; one string counts for every image; None leaves it to the requests."""
    if text is None or isinstance(text, str):
        return [text] * num_images
    if not isinstance(text, (list, tuple)):
        raise TypeError(f"expected a string or a list as expressions, got {type(text).__name__}")
    if len(text) != num_images:
        raise ValueError(
            f"expected one expression or one list of expressions per image, got {len(text)} for {num_images} images"
        )
    return list(text)


def take_one(options: dict[str, Any], name: str, value: Any, others: Sequence[str]) -> Any:
    """Takes what came as `name`, or under another of its names, out of the options; a `ValueError` if it came twice."""
    found = given({name: value, **{other: options.pop(other) for other in others if other in options}})
    if len(found) > 1:
        raise ValueError(f"expected one of {' and '.join(found)}, which mean the same, got both")
    return next(iter(found.values()), None)


def only_known(options: dict[str, Any], known: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Returns options as they are; a `TypeError` for one that is not known says what to give, `others` among it."""
    for name in options:
        if name not in known:
            like = difflib.get_close_matches(name, (*known, *others), n=1)
            instead = FOREIGN_NAMES.get(name) or (like[0] if like else f"one of {', '.join((*known, *others))}")
            raise TypeError(f"the pipeline has no argument {name[:60]!r}; give {instead}")
    return options


def is_text(value) -> bool:
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and all(isinstance(expression, str) for expression in value)
    )


def _one_per_expression(name: str, value, num_expressions: int) -> list:
    """Gives every expression its own entry: `value` itself where it belongs to all, else its entries in order."""
    try:
        value = value.tolist() if hasattr(value, "tolist") else list(value)
    except (TypeError, RuntimeError) as error:  # RuntimeError: of tensors without values
        raise ValueError(f"expected {name} as lists of numbers, got {value!r:.80}") from error
    depth, levels, inner = DEPTHS[name], 0, value
    while isinstance(inner, (list, tuple)):
        levels, inner = levels + 1, next((item for item in inner if item is not None), None)
    if levels == depth and None not in value:
        return [value] * num_expressions
    if levels == depth + 1 and len(value) == num_expressions:
        return value
    raise ValueError(
        f"expected {name} shared by all expressions ({depth} levels of lists) or one per expression "
        f"({depth + 1} levels, {num_expressions} entries), got {levels} levels and {len(value)} entries"
    )


def _is_undecoded(item: Mapping) -> bool:
    """Whether a mapping is an image of `datasets` that was not decoded."""
    return set(item) == {"bytes", "path"}


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters that are not None."""
    return {name: value for name, value in parameters.items() if value is not None}
