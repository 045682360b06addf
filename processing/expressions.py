# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Expressions and what a user points at beside them, checked and laid flat: one entry per expression.

`text` is a string, a list of strings, or a list with one list of strings per image. Points, boxes, masks and labels
are nested the same way, one value in place of each string.

It needs numpy alone, so that code without torch reads expressions by the same rules.

Letters: E expressions, K points per expression.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_CHARACTERS = 10_000  # of one expression; far more than any tokenizer's limit
MAX_EXPRESSIONS = 1_000  # of one image, each of which becomes a mask of its size
_BLANK = ("Zs", "Zl", "Zp", "Cc", "Cf")  # Unicode's categories of spaces, controls and marks of format


def flatten_text(text: Any, name: str = "text") -> list[tuple[str, str]]:
    """Returns (path, expression) for every expression, e.g. ("text[0][1]", "the red car").

    Raises:
        `ValueError`: If an entry is none that `check_expression` accepts.
    """
    if isinstance(text, list | tuple):
        return [pair for index, item in enumerate(text) for pair in flatten_text(item, f"{name}[{index}]")]
    return [(name, check_expression(text, name))]


def check_expression(text: Any, name: str = "text") -> str:
    """Returns an expression as it is; the one check of expressions, whichever way they come in.

    Args:
        text: What a user gave.
        name (`str`): What a message calls it.

    Raises:
        `ValueError`: If it is no string, has nothing to read, is too long, or holds half a character: a surrogate
            without its other half, as broken files and command lines have them, which no tokenizer can read.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected a string as {name}, got {shortened(text)}")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{name} has {len(text)} characters; give an expression of at most {MAX_CHARACTERS}")
    lone = next((index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if lone is not None:
        raise ValueError(
            f"{name} is no valid Unicode: character {lone} is {text[lone]!r} in {shortened(text)}; "
            f"give it as UTF-8 text"
        )
    if is_blank(text):
        raise ValueError(f"{name} is empty, got {shortened(text)}; give an expression that says what to segment")
    return text


def is_spelled(word: str, n_tokens: int) -> bool:
    """Returns whether a tokenizer of `n_tokens` for a word of more than two letters has one token for each letter.

    Digits, and characters of scripts without upper and lower case, stand for themselves: to read them one by one is
    to know them.
    """
    return n_tokens == len(word) > 2 and all(letter.lower() != letter.upper() for letter in word)


def is_blank(text: str) -> bool:
    """Returns whether a text has nothing to read: only spaces, control characters and the like, such as U+200B."""
    return all(unicodedata.category(character) in _BLANK for character in text)


def count_per_image(text: Any, n_images: int) -> list[int]:
    """Returns how many expressions each image has; a single image takes all expressions of a flat list.

    Raises:
        `ValueError`: If `text` has not one entry per image, or an image more than `MAX_EXPRESSIONS`.
    """
    if isinstance(text, str):
        counts = [1]
    elif n_images == 1 and all(isinstance(item, str) for item in text):
        counts = [len(text)]
    else:
        entries = [[item] if isinstance(item, str) else item for item in text]
        if not all(isinstance(expression, str) for entry in entries for expression in entry):
            raise ValueError(f"expected one list of strings per image as text, got {shortened(text)}")
        counts = [len(entry) for entry in entries]
    if len(counts) != n_images:
        raise ValueError(
            f"expected one expression (or list of expressions) per image, got {len(counts)} for {n_images} images"
        )
    if max(counts, default=0) > MAX_EXPRESSIONS:
        raise ValueError(
            f"expected at most {MAX_EXPRESSIONS} expressions for one image, got {max(counts)}; ask in several calls"
        )
    return counts


def align(values: Any, text: Any, name: str) -> list[Any]:
    """
    Flattens values that are nested like `text`, None for nothing there; raises `ValueError` for lists of other lengths.
    """
    if isinstance(text, str):
        return [values]
    if values is None:
        return [leaf for item in text for leaf in align(None, item, name)]
    if not (isinstance(values, Sequence | np.ndarray) or hasattr(values, "detach")) or len(values) != len(text):
        n_values = len(values) if hasattr(values, "__len__") else repr(values)
        raise ValueError(f"expected {name} nested like text, which has {len(text)} entries here, got {n_values}")
    return [leaf for value, item in zip(values, text, strict=True) for leaf in align(value, item, name)]


def stack_points(
    points: list[Any],
    labels: list[Any],
    image_index: Sequence[int] | np.ndarray,
    sizes_hw: Sequence[tuple[int, int]],
    resized_hw: Sequence[tuple[int, int]],
    pad_value: int,
) -> dict[str, np.ndarray]:
    """
    Scales clicks to SAM's canvas and pads them by `pad_value` to one number K per expression.

    Args:
        points: Per expression (x, y) or K of them, in image pixels, or None.
        labels: Per expression 1 (inside) or 0 (outside) for each point; None means all 1.
        image_index: The image of each expression.
        sizes_hw, resized_hw: Size of each image, and its size on SAM's canvas.

    Returns:
        `dict`: `input_points` (E, 1, K, 2) float32 and `input_labels` (E, 1, K) int64; empty without points.

    Raises:
        `ValueError`: If a point lies outside its image or has no label.
    """
    clicks = [_read_points(value, row) for row, value in enumerate(points)]
    n_points = max(len(click) for click in clicks)
    if n_points == 0:
        return {}
    input_points = np.full((len(clicks), 1, n_points, 2), pad_value, dtype=np.float32)
    input_labels = np.full((len(clicks), 1, n_points), pad_value, dtype=np.int64)
    for row, (click, label, image) in enumerate(zip(clicks, labels, image_index, strict=True)):
        label = np.ones(len(click)) if label is None else _numbers(label).reshape(-1)
        if len(label) != len(click) or not np.isin(label, (0, 1)).all():
            raise ValueError(
                f"expected a label 0 or 1 for each of {len(click)} points of expression {row}, got {label.tolist()}"
            )
        input_points[row, 0, : len(click)] = _scale(
            click, sizes_hw[image], resized_hw[image], f"point of expression {row}"
        )
        input_labels[row, 0, : len(click)] = label
    return {"input_points": input_points, "input_labels": input_labels}


def stack_boxes(
    boxes: list[Any],
    image_index: Sequence[int] | np.ndarray,
    sizes_hw: Sequence[tuple[int, int]],
    resized_hw: Sequence[tuple[int, int]],
) -> np.ndarray | None:
    """
    Scales prompt boxes [x0, y0, x1, y1] from image pixels to SAM's canvas: (E, 1, 4) float32, None without boxes;
    raises `ValueError` where only some expressions have one, or one leaves its image or has no area.
    """
    missing = [row for row, box in enumerate(boxes) if box is None]
    if len(missing) == len(boxes):
        return None
    if missing:
        raise ValueError(f"input_boxes must be given for all expressions or for none, got none for {missing}")
    scaled = np.zeros((len(boxes), 1, 4), dtype=np.float32)
    for row, (value, image) in enumerate(zip(boxes, image_index, strict=True)):
        box = _numbers(value)
        if box.size != 4 or not (box.ravel()[0] < box.ravel()[2] and box.ravel()[1] < box.ravel()[3]):
            raise ValueError(f"box of expression {row} must be [x0, y0, x1, y1] with x0 < x1, y0 < y1, got {value}")
        corners = _scale(box.reshape(2, 2), sizes_hw[image], resized_hw[image], f"box corner of expression {row}")
        scaled[row, 0] = corners.reshape(4)
    return scaled


def stack_masks(masks: list[Any]) -> np.ndarray | None:
    """
    Stacks low-resolution mask prompts, one (h, w) per expression, into (E, 1, h, w) float32, None without masks; raises
    `ValueError` where only some expressions have one, or their sizes differ.
    """
    missing = [row for row, mask in enumerate(masks) if mask is None]
    if len(missing) == len(masks):
        return None
    if missing:
        raise ValueError(f"input_masks must be given for all expressions or for none, got none for {missing}")
    arrays = [_numbers(mask) for mask in masks]
    shapes = sorted({array.shape[-2:] for array in arrays})
    if len(shapes) > 1:
        raise ValueError(f"expected input_masks of one size, that of SAM's low-resolution logits, got {shapes}")
    return np.stack([array.reshape(1, *shapes[0]) for array in arrays]).astype(np.float32)


def _read_points(value: Any, row: int) -> np.ndarray:
    points = np.zeros(0) if value is None else _numbers(value)
    if points.size % 2 or (points.size and points.shape[-1] != 2):
        raise ValueError(f"points of expression {row} must be [[x, y], …] in image pixels, got {value!r}")
    return points.reshape(-1, 2)


def _numbers(value: Any) -> np.ndarray:
    try:
        value = value.detach().cpu().float().numpy() if hasattr(value, "detach") else value
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: of tensors without values
        raise ValueError(f"expected numbers, in lists of equal length, got {shortened(value)}") from error


def shortened(value: Any) -> str:
    """Returns what a message shows of a value."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "…"


def _scale(xy: np.ndarray, size_hw: tuple[int, int], resized_hw: tuple[int, int], name: str) -> np.ndarray:
    size, resized = np.array(size_hw[::-1]), np.array(resized_hw[::-1])
    outside = ~((xy >= 0) & (xy <= size)).all(axis=1)
    if outside.any():
        x, y = xy[outside][0].tolist()
        raise ValueError(
            f"({x:g}, {y:g}), a {name}, lies outside its image of width {size_hw[1]} and height {size_hw[0]}"
        )
    return xy * (resized / size)
