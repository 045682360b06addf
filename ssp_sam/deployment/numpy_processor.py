# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The steps of `SspSamProcessor` without torch and transformers: images and words in, arrays out, and the way back.

Letters: E expressions, L tokens, K points, H and W image height and width, S and s sides of the two canvases.
"""

import json
import math
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from ..processing.canvas_geometry import (
    CanvasPlacement,
    centred_offset,
    fit_segmenter,
    fit_semantic,
    has_pixels,
    tight_box_xyxy,
)
from ..processing.expressions import flatten_text, is_spelled
from ..processing.image_files import as_rgb, load, open_file

# Labels of points, as the mask decoder reads them.
OUTSIDE, INSIDE, TOP_LEFT, BOTTOM_RIGHT, NOT_A_POINT = 0, 1, 2, 3, -1
PUNCTUATION = string.punctuation


class NumpyProcessor:
    """
    The steps of `SspSamProcessor` before and after the model, for one image, by the processor's files in a folder.
    """

    def __init__(self, folder: str | Path):
        self.settings = _read_json(Path(folder) / "processor_config.json")
        self.image_settings = self.settings["image_processor"]
        self.tokenize = ExpressionReader(Path(folder), self.settings)

    # ---- images ---------------------------------------------------------------------------------------------------

    def canvases(self, image: Image.Image) -> dict[str, np.ndarray]:
        """Lays an RGB image on SAM's canvas, (1, 3, S, S), and on the semantic one, (1, 3, s, s), if there is one."""
        settings, size_hw = self.image_settings, (image.height, image.width)
        canvas_hw = (settings["pad_size"]["height"], settings["pad_size"]["width"])
        resized = fit_segmenter(size_hw, settings["size"]["longest_edge"])
        canvases = {"pixel_values": self._paint(image, resized, canvas_hw, (0, 0), "image")}
        side = settings["semantic_size"]
        if side is not None:
            resized = fit_semantic(size_hw, side)
            offset = centred_offset(resized, side)
            canvases["semantic_pixel_values"] = self._paint(image, resized, (side, side), offset, "semantic")
        return canvases

    def _paint(self, image: Image.Image, resized_hw, canvas_hw, offset, kind: str) -> np.ndarray:
        (height, width), (left, top) = resized_hw, offset
        if image.size != (width, height):
            image = image.resize((width, height), resample=self.image_settings["resample"])
        mean, std = (np.asarray(self.image_settings[f"{kind}_{name}"], np.float64) for name in ("mean", "std"))
        pixels = np.asarray(image, np.float32) * (self.image_settings["rescale_factor"] / std).astype(np.float32)
        pixels -= (mean / std).astype(np.float32)
        canvas = np.zeros((1, 3, *canvas_hw), np.float32)
        canvas[0, :, top : top + height, left : left + width] = pixels.transpose(2, 0, 1)
        return canvas

    # ---- points ---------------------------------------------------------------------------------------------------

    def points(self, size_hw, points=None, labels=None, box=None) -> dict[str, np.ndarray]:
        """Clicks and box corners in one list, (1, 1, K, 2) on SAM's canvas; K is 0 for words alone."""
        clicks = np.asarray([] if points is None else points, np.float64).reshape(-1, 2)
        marks = [INSIDE] * len(clicks) if labels is None else np.asarray(labels).reshape(-1).tolist()
        if len(marks) != len(clicks) or not set(marks) <= {OUTSIDE, INSIDE}:
            raise ValueError(f"expected a label 0 or 1 for each of {len(clicks)} points, got {marks}")
        if box is not None:
            corners = np.asarray(box, np.float64).reshape(-1)
            if corners.size != 4 or not (corners[:2] < corners[2:]).all():
                raise ValueError(f"the box must be [x0, y0, x1, y1] with x0 < x1, y0 < y1, got {box}")
            clicks, marks = np.concatenate([clicks, corners.reshape(2, 2)]), [*marks, TOP_LEFT, BOTTOM_RIGHT]
        size, resized = (
            np.array(side_hw[::-1])
            for side_hw in (size_hw, fit_segmenter(size_hw, self.image_settings["size"]["longest_edge"]))
        )
        outside = ~((clicks >= 0) & (clicks <= size)).all(axis=1)
        if outside.any():
            x, y = clicks[outside][0]
            raise ValueError(f"({x:g}, {y:g}) lies outside the image of width {size_hw[1]} and height {size_hw[0]}")
        scaled = clicks * (resized / size)
        if marks and box is None:  # SAM ends a list of clicks with a point that is none
            scaled, marks = np.concatenate([scaled, np.zeros((1, 2))]), [*marks, NOT_A_POINT]
        return {
            "input_points": scaled.astype(np.float32)[None, None],
            "input_labels": np.array(marks, np.int64)[None, None],
        }

    # ---- predictions ----------------------------------------------------------------------------------------------

    def read_outputs(self, outputs: dict[str, np.ndarray], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
        """Turns the outputs of the mask decoder into one prediction per expression, as the processor does."""
        boxes, no_target = outputs.get("pred_boxes"), outputs.get("no_target_logits")
        return [
            self._read_output(
                self._upsample(masks[0].astype(np.float32), size_hw),
                None if no_target is None else float(_sigmoid(no_target[row].astype(np.float32))),
                None if boxes is None else boxes[row].astype(np.float32),
            )
            for row, masks in enumerate(outputs["pred_masks"])
        ]

    def _upsample(self, logits: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        pad_size = self.image_settings["pad_size"]
        resized = fit_segmenter(size_hw, self.image_settings["size"]["longest_edge"])
        logits = resize_bilinear(logits, (pad_size["height"], pad_size["width"]))[: resized[0], : resized[1]]
        return logits if resized == tuple(size_hw) else resize_bilinear(logits, size_hw)

    def _read_output(self, logits: np.ndarray, no_target: float | None, box_cxcywh) -> dict[str, Any]:
        settings = self.settings
        if np.isnan(logits.max()):
            raise ValueError("the mask logits are NaN; export the model in float32")
        mask = logits > _logit(settings["mask_threshold"])
        count = int(np.count_nonzero(mask))
        foreground = float(_sigmoid(logits[mask]).mean() if count else _sigmoid(logits.max()))
        confidence = _logit(min(max(foreground, 1e-6), 1 - 1e-6)) / settings["score_temperature"]
        found = (1 - (no_target or 0.0)) * (0.5 + 0.5 * math.tanh((confidence + settings["score_bias"]) / 2))
        by_head = no_target is not None and no_target > settings["no_target_threshold"]
        if by_head or count < max(1, settings["min_mask_pixels"]):
            score = no_target if by_head else 1 - found
            return {"mask": np.zeros_like(mask), "score": score, "box_xyxy": None, "no_target": True}
        box = None if box_cxcywh is None else self._placement(mask.shape).to_image(box_cxcywh, mask.shape)
        if box is None or not has_pixels(box):
            box = tight_box_xyxy(mask)
        return {"mask": mask, "score": found, "box_xyxy": box, "no_target": False}

    def _placement(self, size_hw: tuple[int, int]) -> CanvasPlacement:
        """Where an image lies on the canvas that boxes are fractions of."""
        settings, side = self.image_settings, self.image_settings["semantic_size"]
        if side is None:
            resized_hw = fit_segmenter(size_hw, settings["size"]["longest_edge"])
            canvas_hw = (settings["pad_size"]["height"], settings["pad_size"]["width"])
            return CanvasPlacement.of(size_hw, resized_hw, (0, 0), canvas_hw)
        resized_hw = fit_semantic(size_hw, side)
        return CanvasPlacement.of(size_hw, resized_hw, centred_offset(resized_hw, side), (side, side))


class ExpressionReader:
    """
    Turns expressions into token ids as the processor does, by `tokenizer.json` and `tokenizer_config.json` in a folder.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        config = _read_json(folder / "tokenizer_config.json")
        self.tokenizer = Tokenizer.from_file(str(existing_file(folder / "tokenizer.json")))
        self.tokenizer.no_padding()
        self.settings = settings
        self.limit = settings["max_expression_length"] or config["model_max_length"]
        self.padding_side = config.get("padding_side", "right")
        self.truncation_side = config.get("truncation_side", "right")
        self.unknown_id = self._id_of(config.get("unk_token"))
        self.pad_id = settings["pad_token_id"]
        if self.pad_id is None:
            self.pad_id = self._id_of(config["pad_token"])

    def __call__(self, expressions: list[str]) -> dict[str, np.ndarray]:
        """Returns `input_ids` and `attention_mask`, (E, L) int64."""
        if not expressions:
            raise ValueError("expected at least one expression, got none")
        flatten_text(expressions)  # checks each
        texts = [self._format(text) for text in expressions]
        self.tokenizer.no_truncation()
        lengths = [len(encoding.ids) for encoding in self.tokenizer.encode_batch(texts)]
        for text, length in zip(expressions, lengths, strict=True):
            if length > self.limit:
                sys.stderr.write(f"{text[:40]!r}… has {length} tokens, more than {self.limit}; its end is cut off\n")
        if max(lengths) > self.limit:
            self.tokenizer.enable_truncation(self.limit, direction=self.truncation_side)
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        to_the_limit = self.settings["expression_padding"] == "max_length"
        width = self.limit if to_the_limit else max(len(row) for row in rows)
        ids = np.full((len(rows), width), self.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            kept = slice(0, len(row)) if self.padding_side == "right" else slice(width - len(row), width)
            ids[number, kept], mask[number, kept] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    def unknown_words(self, expression: str) -> list[str]:
        """Returns the words that the tokenizer does not know, as `SspSamProcessor.unknown_words` does."""
        words = [word.strip(PUNCTUATION) for word in expression.split()]
        words = [word for word in dict.fromkeys(words) if word]
        lowered = [word.lower() if self.settings["lowercase"] else word for word in words]
        self.tokenizer.no_truncation()
        encodings = self.tokenizer.encode_batch(lowered, add_special_tokens=False)
        return [
            word
            for word, encoding in zip(words, encodings, strict=True)
            if self.unknown_id in encoding.ids or is_spelled(word, len(encoding.ids))
        ]

    def _id_of(self, token: Any) -> int | None:
        return (
            None
            if token is None
            else self.tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)
        )

    def _format(self, expression: str) -> str:
        expression = " ".join(expression.split())
        expression = expression.lower() if self.settings["lowercase"] else expression
        return self.settings["expression_template"].replace("{}", expression)


def read_rgb(image: Any) -> Image.Image:
    """Reads a PIL image or a file: upright by its EXIF orientation, transparency on white, 8-bit RGB."""
    return as_rgb(load(image if isinstance(image, Image.Image) else open_file(image)))[0]


def resize_bilinear(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resizes (h, w) float32 values bilinearly, without aligned corners and without antialiasing, as torch does."""
    for axis in (1, 0):
        length, size = values.shape[axis], size_hw[axis]
        position = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(length / size) - np.float32(0.5)
        position = np.maximum(position, np.float32(0))
        low = np.minimum(position.astype(np.int64), length - 1)
        weight = position - low.astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight
        high = np.minimum(low + 1, length - 1)
        values = values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight
    return values


def _sigmoid(logits):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def _logit(probability: float) -> float:
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability / (1 - probability))


def existing_file(path: Path) -> Path:
    """Returns a path, or raises a `ValueError` where there is no such file."""
    if not path.is_file():
        raise ValueError(f"no {path.name} in {str(path.parent)!r}; give a folder that ssp-sam export-onnx wrote")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(existing_file(path).read_text("utf-8"))
