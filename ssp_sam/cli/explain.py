# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Draws, for each expression, the prediction, the similarity map, the verification map and the weight of each word, and
prints predictions and weights.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .files import (
    InputError,
    check_expressions,
    find_images,
    plan_results,
    read_source,
    told,
    unknown_words_note,
    write_image,
)
from .model import add_model_options, load_pipeline

if TYPE_CHECKING:
    from ..explain import Explanation


EXAMPLE = 'ssp-sam explain photo.png "the red car"'


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("image", metavar="IMAGE", help="an image file or URL, - for standard input")
    parser.add_argument("expressions", nargs="+", metavar="EXPRESSION", help="what to find in it")
    add_model_options(parser)
    parser.add_argument("--output", metavar="FILE", default="explain.png", help="drawing to write (explain.png)")


def run(options: argparse.Namespace) -> int:
    """Explains the predictions for one image; returns 0."""
    from ..explain import draw_explanation, explain
    from ..familiarity import hint_for

    if os.path.isdir(options.image):
        raise InputError(f"expected one image, got the folder {options.image!r}")
    check_expressions(options.expressions)
    source = find_images([options.image], standard_input=True)[0]
    output = options.output
    if os.path.isdir(output):
        output = os.path.join(output, f"{Path(source.split('?')[0]).stem or 'image'}_explain.png")
    plan_results([source], options.expressions, several=False, output=output, masks_dir=None)
    image = read_source(source)
    segmenter = load_pipeline(options)
    with told(ValueError, TypeError, about=f"{source}: "):
        explanations = explain(segmenter, image, options.expressions)
    write_image(draw_explanation(explanations), output)
    print(f"{source} ({image.width} x {image.height})")
    for number, explanation in enumerate(explanations, start=1):
        result = explanation.result
        verdict = "nothing found" if result["no_target"] else f"found, score {result['score']:.2f}"
        print(f"  {number}. {result['label']}: {verdict}{_weights(explanation)}{unknown_words_note(result)}")
    print(f"  drawing {output}")
    if (hint := hint_for(segmenter, image, [explanation.result for explanation in explanations])) is not None:
        print(f"ssp-sam: {hint}", file=sys.stderr)
    return 0


def _weights(explanation: "Explanation") -> str:
    """The words with their fractions of 1, or nothing where the model does not weigh them."""
    words = [f"{word.text} {word.weight:.2f}" for word in explanation.words if word.weight is not None]
    return f"; weights: {', '.join(words)}" if words else ""
