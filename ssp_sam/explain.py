# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Why a model predicts as it does: its similarity map, its verification map and the weight of every word, drawn.

segment = pipeline("referring-segmentation")
draw_explanation(explain(segment, "examples/scene.png", "the red car")).save("explain.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from .processing.canvas_geometry import CanvasPlacement
from .processing.image_inputs import read_rgb
from .processing.processing_ssp_sam import SspSamProcessor
from .processing.segmentation_results import as_result
from .processing.visualization.explanation_panels import (
    DIVIDER,
    MIN_PANEL_WIDTH,
    draw_map,
    draw_prediction,
    draw_words,
    fit_in_panel,
)
from .processing.visualization.painting import joined


@dataclass(frozen=True)
class WordWeight:
    """
    A word of an expression, and how much of the expression's meaning the model takes from it.

    Args:
        text: the word as it was written, all its pieces together; the token's own name for a special token.
        weight: the sum over its pieces, 0 to 1; None where the model does not weigh words.
        special: whether it is a token that the tokenizer adds, such as [CLS].
    """

    text: str
    weight: float | None
    special: bool = False


@dataclass(frozen=True)
class Explanation:
    """
    What a model found for one expression, and how it came to it.

    Args:
        image: the upright image, RGB.
        result: what the pipeline returns for the expression.
        words: the expression as the model read it, in order; the weights of all of them sum to 1.
        unread: the end of the expression, where it was longer than the model reads.
        similarity_map: (g, g) float32 in 0..1, how much each patch resembles the sentence; None without such a map.
        verification_map: (g, g) float32, the verification score of each patch; None without such a map.
        placement: where the image lies on the canvas that the g x g patches divide; the rest is padding.
    """

    image: Image.Image
    result: dict[str, Any]
    words: list[WordWeight]
    unread: str
    similarity_map: np.ndarray | None
    verification_map: np.ndarray | None
    placement: CanvasPlacement

    def over_image(self, grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """
        Lays a map over the image: cuts off the padding of the canvas and interpolates.

        Args:
            grid: (g, g), one of the maps.
            size: width and height of what to return, in pixels.

        Returns:
            (height, width) float32.
        """
        at, (rows, columns) = self.placement, grid.shape
        # The image's edges, counted in patches.
        left, right = ((at.left + x * at.ratio_w) * columns / at.width for x in (0, self.image.width))
        top, bottom = ((at.top + y * at.ratio_h) * rows / at.height for y in (0, self.image.height))
        box = (max(left, 0.0), max(top, 0.0), min(right, float(columns)), min(bottom, float(rows)))
        patches = Image.fromarray(np.ascontiguousarray(grid, dtype=np.float32))
        return np.asarray(patches.resize(size, Image.Resampling.BILINEAR, box=box))


def explain(
    segmenter: Any, image: Any, text: str | Sequence[str], processor: SspSamProcessor | None = None
) -> list[Explanation]:
    """
    Segments what expressions refer to and keeps what the model saw on the way.

    Args:
        segmenter: a `ReferringSegmentationPipeline`, or an `SspSamModel`; then with its `processor`.
        image: one image: PIL, a path, a URL, an array or a tensor.
        text: an expression, or several; the image is encoded once.
        processor: that of the model; not needed beside a pipeline.

    Returns:
        One `Explanation` per expression, in order, with the predictions of the pipeline.

    Raises:
        ValueError: if the image cannot be read, an expression is empty, or a model comes without processor.
    """
    # 1. Inputs.
    model = getattr(segmenter, "model", segmenter)
    processor = processor or getattr(segmenter, "processor", None)
    if processor is None:
        raise ValueError(f"expected a processor beside a {type(segmenter).__name__}, got None; pass processor=…")
    expressions = [text] if isinstance(text, str) else list(text)
    rgb, _ = read_rgb(image)
    inputs = processor(images=rgb, text=expressions, return_tensors="pt")
    sizes, reshaped = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")

    # 2. One pass, with its maps.
    was_training = model.training
    model.eval()
    with torch.no_grad():
        outputs = model(**inputs.to(model.device), output_attentions=True)
    model.train(was_training)

    # 3. One explanation per expression.
    predictions = processor.post_process_referring_segmentation(
        outputs, sizes, image_index=inputs["image_index"], reshaped_input_sizes=reshaped
    )
    names = ("similarity_map", "verification_map", "word_attention")
    maps = {name: None if outputs.get(name) is None else outputs[name].float().cpu().numpy() for name in names}
    placement = processor.image_processor.box_placement((rgb.height, rgb.width))
    kept = inputs["attention_mask"].cpu().numpy() != 0
    explanations = []
    for row, (expression, prediction) in enumerate(zip(expressions, predictions)):
        own = {name: None if value is None else value[row] for name, value in maps.items()}
        weights = own.pop("word_attention")
        words, unread = _read_words(
            processor, expression, int(kept[row].sum()), None if weights is None else weights[kept[row]]
        )
        result = as_result(prediction, expression, processor.unknown_words(expression))
        explanations.append(Explanation(rgb, result, words, unread, placement=placement, **own))
    return explanations


def draw_explanation(explanations: Explanation | Sequence[Explanation]) -> Image.Image:
    """
    Draws the prediction, the similarity map and the verification map side by side, and under them the weighted words.

    Both maps are drawn over the image, from their lowest to their highest value there, which the scale below names.
    A map that the model does not have is said to be missing.

    Args:
        explanations: what `explain` returned, or one of it. Several expressions are drawn below each other.

    Returns:
        An RGB drawing, some 1,300 pixels wide whatever the size of the image.

    Raises:
        ValueError: if there is nothing to draw.
    """
    explanations = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if not explanations:
        raise ValueError("expected at least one explanation, got none")
    rows = []
    for explanation in explanations:
        image = fit_in_panel(explanation.image)
        panels = [draw_prediction(image, explanation.result)]
        for title, grid in (("similarity", explanation.similarity_map), ("verification", explanation.verification_map)):
            values = None if grid is None else explanation.over_image(grid, image.size)
            panels.append(draw_map(image, title, values))
        if rows:
            rows.append(Image.new("RGB", (rows[0].width, 2), DIVIDER))
        row = joined(panels, least_width=3 * MIN_PANEL_WIDTH)
        rows += [row, draw_words(explanation.words, explanation.unread, row.width)]
    return joined(rows, down=True)


def _read_words(
    processor: SspSamProcessor, expression: str, num_tokens: int, weights: np.ndarray | None
) -> tuple[list[WordWeight], str]:
    """
    Joins the pieces of each word, and returns the words and what was cut off; `num_tokens` the model has read, special
    ones included, and weighed, if it weighs words.
    """
    tokenizer: Any = processor.tokenizer
    text = processor.format_expression(expression)
    encoded = tokenizer(text, truncation=True, max_length=num_tokens, return_offsets_mapping=tokenizer.is_fast)
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    if tokenizer.is_fast:
        spans, numbers = encoded["offset_mapping"], encoded.word_ids()  # None for special tokens
    else:  # such a tokenizer does not say which piece belongs to which word
        added = {*tokenizer.all_special_tokens} - {tokenizer.unk_token}
        spans, numbers = [(0, 0)] * len(tokens), [None if token in added else i for i, token in enumerate(tokens)]
    words: list[WordWeight] = []
    previous, start = None, 0
    for position, (token, (first, last), number) in enumerate(zip(tokens, spans, numbers, strict=True)):
        weight = None if weights is None else float(weights[position])
        if number is not None and number == previous:  # one more piece of the same word
            earlier = words.pop().weight
            weight = None if weight is None or earlier is None else weight + earlier
        else:
            start = first
        words.append(WordWeight(text[start:last].strip() or token, weight, special=number is None))
        previous = number
    read = max(last for _, last in spans)
    cut_off = len(tokenizer(text, truncation=False, verbose=False)["input_ids"]) > num_tokens
    return words, text[read:].strip() if cut_off and tokenizer.is_fast else ""


__all__ = ["Explanation", "WordWeight", "draw_explanation", "explain"]
