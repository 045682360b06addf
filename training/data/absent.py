# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Expressions that a dataset implies to be absent from an image, though no line says so."""

from typing import Any


def absent_expressions(rows: Any) -> list[list[str]]:
    """
    Returns for each prepared reference the expressions that can be taken to mean nothing in its image.

    These are expressions that the data itself calls absent from some other image, and whose words are not all among
    those of an expression for something in this image: "the circle" is not taken to be absent where there is "the
    striped circle".
    """
    columns = rows.select_columns(["source", "image_id", "no_target", "expressions"]).to_dict()
    images = list(zip(columns["source"], columns["image_id"], strict=True))
    called: set[str] = set()
    present: dict[tuple[str, str], set[frozenset[str]]] = {image: set() for image in images}
    for image, nothing, expressions in zip(images, columns["no_target"], columns["expressions"], strict=True):
        if nothing:
            called.update(expressions)
        else:
            present[image].update(_words(expression) for expression in expressions)
    words = {expression: _words(expression) for expression in sorted(called)}
    absent = {
        image: [expression for expression, own in words.items() if not any(own <= others for others in known)]
        for image, known in present.items()
    }
    return [absent[image] for image in images]


def _words(expression: str) -> frozenset[str]:
    return frozenset(expression.lower().split())
