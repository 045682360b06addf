# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the demo does with an image, expressions and clicks, apart from the page that shows it."""

import html
import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from ..deployment.batching import EncodedImages
from ..explain import draw_explanation, explain
from ..familiarity import hint_for
from ..modeling_ssp_sam.embedded_model import FOR_PHOTOGRAPHS, is_embedded
from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from ..processing.image_files import as_rgb, load, open_file
from ..processing.visualization.overlay import paint_results
from ..processing.visualization.painting import choose_colours, scaled_size, text_colour
from ..training.scenes.objects import COLOURS, NOUNS

MAX_EXPRESSIONS = 20
MAX_MEGAPIXELS = 50
CACHED_IMAGES = 8
# The long side of the image in the page, in pixels: lines stay readable on small ones, large ones load fast.
MIN_SHOWN, MAX_SHOWN = 640, 1280
MARK_COLOURS = {1: (34, 197, 94), 0: (239, 68, 68)}  # on what is meant, beside it
BOX_COLOUR = (250, 204, 21)


class Mark(NamedTuple):
    """What one click, or two for a box, said about an expression; in pixels of the image."""

    kind: str  # "inside" or "outside" for a point, "corner" for a box that lacks its second corner, or "box"
    xy: tuple[float, ...]  # two numbers for a point or corner, left, top, right and bottom for a box


@dataclass(frozen=True)
class DemoState:
    """One visitor's image, expressions, marks and predictions."""

    image: Image.Image | None = None  # the upright image, RGB; None before there is one
    results: tuple[dict[str, Any], ...] = ()  # what the pipeline returned for each expression, in order
    colours: tuple[tuple[int, int, int], ...] = ()  # one per expression, which stay while predictions are refined
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)  # per expression, in order of clicking
    source: str | None = None  # the file that the image came from
    # What to tell the visitor of a model that is asked for more than it knows; None for nothing
    hint: str | None = None

    @property
    def expressions(self) -> list[str]:
        return [result["label"] for result in self.results]

    @property
    def scale(self) -> float:
        """Shown pixels per pixel of the image."""
        if self.image is None:
            return 1.0
        side = max(self.image.size)
        return min(max(side, MIN_SHOWN), MAX_SHOWN) / side


class DemoSegmenter:
    """
    Segments for all visitors; each image is encoded once, as long as it is among the last `CACHED_IMAGES`.

    Wrong input raises a ValueError whose message is meant for the visitor.
    """

    def __init__(self, pipeline: ReferringSegmentationPipeline):
        self.pipeline = pipeline
        self._images = EncodedImages(pipeline.model, CACHED_IMAGES)
        self._lock = threading.Lock()

    def open(self, path: str | None) -> DemoState:
        """Returns a state with the image of a file, or without one."""
        if path is None:
            return DemoState()
        try:
            image, _ = as_rgb(load(open_file(path, max_pixels=MAX_MEGAPIXELS * 1e6)))
        except ValueError as error:
            raise ValueError(
                f"This file cannot be read as an image of at most {MAX_MEGAPIXELS} megapixels; choose another one, "
                f"such as PNG or JPEG."
            ) from error
        return DemoState(image=image, source=path)

    def segment(self, state: DemoState, text: str) -> DemoState:
        """Segments what the expressions in `text` refer to, one per line; marks stay with expressions that stay."""
        if state.image is None:
            raise ValueError("There is no image yet: drop one above, or choose an example.")
        expressions = list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))
        if not expressions:
            raise ValueError("There is nothing to look for yet: write an expression such as “the red car”.")
        if len(expressions) > MAX_EXPRESSIONS:
            raise ValueError(
                f"Please ask for at most {MAX_EXPRESSIONS} expressions at once; these are {len(expressions)}."
            )
        marks = {expression: state.marks[expression] for expression in expressions if expression in state.marks}
        state = self._predict(replace(state, marks=marks), expressions)
        colours = tuple(choose_colours(state.image, [result["mask"] for result in state.results]))
        with self._lock:
            hint = hint_for(self.pipeline, state.image, list(state.results))
        return replace(state, colours=colours, hint=hint)

    def click(self, state: DemoState, expression: str | None, kind: str, shown_xy: tuple[float, float]) -> DemoState:
        """
        Adds a mark to an expression and segments again.

        Args:
            kind: "inside", "outside" or "box"; of a box, the first click gives one corner and the second the other.
            shown_xy: the position in the shown image.
        """
        if expression not in state.expressions or state.image is None:
            raise ValueError("There is nothing to refine yet: write an expression and press Segment first.")
        x, y = (
            min(max(value / state.scale, 0.0), float(side))
            for value, side in zip(shown_xy, state.image.size, strict=True)
        )
        marks = state.marks.get(expression, ())
        corners = marks[-1].xy if marks and marks[-1].kind == "corner" else None
        if corners is not None:
            marks = marks[:-1]
        if kind != "box":
            return self._mark(state, expression, (*marks, Mark(kind, (x, y))))
        if corners is None:
            return replace(state, marks={**state.marks, expression: (*marks, Mark("corner", (x, y)))})
        box = (min(corners[0], x), min(corners[1], y), max(corners[0], x), max(corners[1], y))
        if box[0] == box[2] or box[1] == box[3]:
            raise ValueError("A box needs two corners that are apart from each other; click somewhere else.")
        return self._mark(state, expression, (*marks, Mark("box", box)))

    def undo(self, state: DemoState, expression: str | None) -> DemoState:
        """Takes the expression's last mark back and segments again."""
        marks = state.marks.get(expression or "", ())
        return self._mark(state, expression, marks[:-1]) if expression and marks else state

    def clear(self, state: DemoState) -> DemoState:
        """Takes all marks back and segments again."""
        return self._predict(replace(state, marks={}), state.expressions) if any(state.marks.values()) else state

    def explain(self, state: DemoState) -> Image.Image:
        """Returns the maps and word weights behind the predictions; marks play no part in them."""
        if state.image is None or not state.results:
            raise ValueError("There is nothing to look behind yet: write an expression and press Segment first.")
        with self._lock:
            return draw_explanation(explain(self.pipeline, state.image, state.expressions))

    def _mark(self, state: DemoState, expression: str, marks: tuple[Mark, ...]) -> DemoState:
        return self._predict(replace(state, marks={**state.marks, expression: marks}), state.expressions)

    def _predict(self, state: DemoState, expressions: list[str]) -> DemoState:
        points, labels, boxes = [], [], []
        for expression in expressions:
            marks = state.marks.get(expression, ())
            clicks = [mark for mark in marks if mark.kind in ("inside", "outside")]
            points.append([list(mark.xy) for mark in clicks] or None)
            labels.append([int(mark.kind == "inside") for mark in clicks] or None)
            boxes.append(next((list(mark.xy) for mark in reversed(marks) if mark.kind == "box"), None))
        request: dict[str, Any] = {"image": state.image, "text": expressions}
        if any(points):
            request.update(input_points=points, input_labels=labels)
        if any(boxes):
            request.update(input_boxes=boxes)
        with self._lock:
            inputs = self.pipeline.preprocess(request)
            features = self._images.of([EncodedImages.key_of(state.image)], [inputs])
            outputs = self.pipeline.forward({**inputs, "image_features": features})
            results = self.pipeline.postprocess(outputs)
        return replace(state, results=tuple(results))


def describe_model(pipeline: ReferringSegmentationPipeline) -> str:
    """Returns as HTML which model is loaded, and what it knows."""
    model = pipeline.model
    if not is_embedded(model):
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        name = html.escape(str(model.name_or_path or "a model without a name"))
        return f'<p class="ssp-model">Model: <b>{name}</b>, {millions:.0f} million parameters, on {model.device}.</p>'
    pull = FOR_PHOTOGRAPHS.partition(": ")[2]
    return (
        '<details class="ssp-model"><summary>Model: <b>the embedded checkpoint</b>, which knows generated scenes, in '
        "sentences such as <i>the small red car on the left of the dog</i>; no photographs.</summary>"
        f"<p>Its things: {', '.join(NOUNS)}.</p><p>Its colours: {', '.join(COLOURS)}.</p><p>For photographs: "
        f"<code>{pull}</code>, then <code>ssp-sam demo --model {pull.split()[-1]}</code>.</p></details>"
    )


def save_result(state: DemoState, expression: str | None, kind: str, folder: Path) -> Path:
    """
    Writes what a visitor downloads into a new folder in the given one, and returns its file: the "mask" or "cutout" of
    an expression, or "json" for all.
    """
    result = next((result for result in state.results if result["label"] == expression), None)
    if state.image is None or result is None:
        raise ValueError("There is nothing to download yet: write an expression first.")
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=folder))
    if kind == "json":
        names = ("label", "score", "box", "no_target", "unknown_words")
        results = [
            {**{name: item[name] for name in names}, "mask": item.window.run_lengths()} for item in state.results
        ]
        path = folder / "results.json"
        record = {"width": state.image.width, "height": state.image.height, "results": results}
        path.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
        return path
    path = folder / f"{kind}.png"
    (result["mask"] if kind == "mask" else result.cutout(state.image)).save(path)
    return path


def draw_state(state: DemoState) -> Image.Image | None:
    """Returns the image with masks, boxes and marks, `DemoState.scale` times as large; None without one."""
    if state.image is None:
        return None
    size = scaled_size(state.image.size, state.scale)
    drawing = state.image.resize(size, Image.Resampling.LANCZOS)
    if state.results:
        drawing = paint_results(drawing, state.results, state.colours)
    draw = ImageDraw.Draw(drawing)
    radius = max(size) / 90
    for marks in state.marks.values():
        for mark in marks:
            _draw_mark(draw, mark.kind, [value * state.scale for value in mark.xy], radius)
    return drawing


def _draw_mark(draw: ImageDraw.ImageDraw, kind: str, xy: list[float], radius: float) -> None:
    line = max(2, round(radius / 3))
    if kind == "box":
        draw.rectangle(xy, outline="black", width=line + 2)
        draw.rectangle([xy[0] + 1, xy[1] + 1, xy[2] - 1, xy[3] - 1], outline=BOX_COLOUR, width=line)
        return
    x, y = xy
    if kind == "corner":
        for width, colour in ((line + 2, "black"), (line, BOX_COLOUR)):
            draw.line([x - 2 * radius, y, x + 2 * radius, y], fill=colour, width=width)
            draw.line([x, y - 2 * radius, x, y + 2 * radius], fill=colour, width=width)
        return
    inside = kind == "inside"
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=MARK_COLOURS[inside], outline="white", width=2)
    draw.line([x - radius / 2, y, x + radius / 2, y], fill="white", width=line)
    if inside:
        draw.line([x, y - radius / 2, x, y + radius / 2], fill="white", width=line)


def describe_state(state: DemoState) -> str:
    """
    Returns the legend as HTML: per expression its number on its colour, its words, those of them that the model does
    not know, and its score or "nothing found".
    """
    if not state.results:
        return ""
    rows = []
    for number, (result, colour) in enumerate(zip(state.results, state.colours), start=1):
        missing = result["no_target"]
        rgb, ink = ("rgb({},{},{})".format(*value) for value in (colour, text_colour(colour)))
        chip = f"border-color:{rgb}" + ("" if missing else f";background:{rgb};color:{ink}")
        words = html.escape(", ".join(result["unknown_words"]))
        unknown = f" <span class='unknown'>unknown to the model: {words}</span>" if words else ""
        note = "nothing found" if missing else f"found <b>{result['score']:.2f}</b>"
        rows.append(
            f'<li class="{"missing" if missing else "found"}"><i style="{chip}">{number}</i>'
            f"<em>{html.escape(result['label'])}{unknown}</em><small title='how sure the model is'>{note}</small></li>"
        )
    hint = f'<p class="ssp-notice" role="note">{html.escape(state.hint)}</p>' if state.hint else ""
    return f'<ol class="ssp-legend">{"".join(rows)}</ol>{hint}'
