# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Segments what expressions refer to, with a folder that `ssp-sam export-onnx` wrote and without torch or transformers.

    python exported/segment_onnx.py photo.jpg "the red car" "the dog" --output overlay.png

This file stands alone and is copied into that folder. It needs onnxruntime, numpy, pillow and tokenizers.

Letters: E expressions, L tokens, K points per expression, H and W image height and width.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from PIL import Image, ImageOps
    from tokenizers import Tokenizer
except ImportError as error:
    sys.exit(f"{error.name} is missing; run: pip install onnxruntime numpy pillow tokenizers")

EXIF_ORIENTATION = 0x0112
# Labels of points, as the mask decoder reads them.
OUTSIDE, INSIDE, TOP_LEFT, BOTTOM_RIGHT, NOT_A_POINT = 0, 1, 2, 3, -1
EXPRESSIONS_PER_PASS = 64
COLOURS = ((230, 60, 60), (60, 120, 230), (60, 180, 90), (240, 170, 40), (160, 80, 200), (40, 180, 190))


class OnnxSegmenter:
    """
    Referring segmentation on ONNX Runtime.

    Args:
        folder: What `ssp-sam export-onnx` wrote.
        providers: Execution providers of ONNX Runtime, `["CUDAExecutionProvider"]` for one; the CPU by default.
        num_threads: Threads of ONNX Runtime; 0 takes all cores.

    Raises:
        ValueError: If the folder lacks a file, or a graph cannot be loaded.
        ImportError: If onnxruntime is missing.
    """

    def __init__(self, folder: str | Path, providers: list[str] | None = None, num_threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "running ONNX graphs needs onnxruntime; run: pip install onnxruntime, or pip install 'ssp-sam[onnx]'"
            ) from error
        folder = Path(folder)
        self.processor = NumpyProcessor(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        self._sessions = {}
        for name in ("image_encoder", "mask_decoder"):
            path = _existing(folder / f"{name}.onnx")
            _existing(folder / f"{name}.onnx.data")
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    str(path), options, providers=providers or ["CPUExecutionProvider"]
                )
            except Exception as error:  # of many types, none of them ONNX Runtime's public ones
                raise ValueError(f"cannot load {str(path)!r}: {str(error).splitlines()[0]}") from error

    def __call__(
        self,
        image: Any,
        expressions: str | list[str],
        input_points: Any = None,
        input_labels: Any = None,
        input_box: Any = None,
    ) -> list[dict[str, Any]]:
        """
        Segments what each expression refers to in one image, which is encoded once.

        Args:
            image: PIL image or path.
            expressions: One or several.
            input_points: Clicks beside the words, [[x, y], …] in image pixels, shared by all expressions.
            input_labels: 1 (inside) or 0 (outside) per point; all inside when not given.
            input_box: [x0, y0, x1, y1] in image pixels, shared by all expressions.

        Returns:
            Per expression a dict: `label`; `mask` (H, W) bool; `score` in 0..1; `box_xyxy` in image pixels, None for no
            target, and with points or a box that around the mask; `no_target`.

        Raises:
            ValueError: If the image cannot be read, an expression is empty, or a point lies outside the image.
        """
        expressions = [expressions] if isinstance(expressions, str) else list(expressions)
        picture = read_rgb(image)
        size_hw = (picture.height, picture.width)
        tokens = self.processor.tokenize(expressions)
        points = self.processor.points(size_hw, input_points, input_labels, input_box)
        features = self.run("image_encoder", **self.processor.canvases(picture))
        answers = []
        for start in range(0, len(expressions), EXPRESSIONS_PER_PASS):
            rows = slice(start, start + EXPRESSIONS_PER_PASS)
            batch = {name: values[rows] for name, values in tokens.items()}
            count = len(batch["input_ids"])
            batch |= {name: np.repeat(values, count, axis=0) for name, values in points.items()}
            outputs = self.run("mask_decoder", **features, image_index=np.zeros(count, np.int64), **batch)
            if points["input_labels"].size:
                outputs.pop("pred_boxes", None)  # which comes from the words, while the mask follows points and box
            answers += self.processor.read_answers(outputs, size_hw)
        return [{"label": text, **answer} for text, answer in zip(expressions, answers, strict=True)]

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs `"image_encoder"` or `"mask_decoder"`; inputs get the graph's types, and those it lacks are left out."""
        session = self._sessions[name]
        types = {"tensor(float16)": np.float16, "tensor(int64)": np.int64}
        feed = {
            node.name: inputs[node.name].astype(types.get(node.type, np.float32), copy=False)
            for node in session.get_inputs()
        }
        names = [node.name for node in session.get_outputs()]
        return dict(zip(names, session.run(names, feed), strict=True))


class NumpyProcessor:
    """
    The steps of `SspSamProcessor` before and after the model, for one image.

    Args:
        folder: Holds the processor's files.
    """

    def __init__(self, folder: str | Path):
        self.settings = _read_json(Path(folder) / "processor_config.json")
        self.image_settings = self.settings["image_processor"]
        self.tokenize = ExpressionReader(Path(folder), self.settings)

    # ---- images ---------------------------------------------------------------------------------------------------

    def canvases(self, picture: Image.Image) -> dict[str, np.ndarray]:
        """Lays an RGB picture on SAM's canvas, (1, 3, S, S), and on the semantic one, (1, 3, s, s), if there is one."""
        settings, size_hw = self.image_settings, (picture.height, picture.width)
        canvas_hw = (settings["pad_size"]["height"], settings["pad_size"]["width"])
        resized = fit_segmenter(size_hw, settings["size"]["longest_edge"])
        canvases = {"pixel_values": self._paint(picture, resized, canvas_hw, (0, 0), "image")}
        side = settings["semantic_size"]
        if side is not None:
            resized = fit_semantic(size_hw, side)
            offset = centred_offset(resized, side)
            canvases["semantic_pixel_values"] = self._paint(picture, resized, (side, side), offset, "semantic")
        return canvases

    def _paint(self, picture: Image.Image, resized_hw, canvas_hw, offset, kind: str) -> np.ndarray:
        (height, width), (left, top) = resized_hw, offset
        if picture.size != (width, height):
            picture = picture.resize((width, height), resample=self.image_settings["resample"])
        mean, std = (np.asarray(self.image_settings[f"{kind}_{name}"], np.float64) for name in ("mean", "std"))
        pixels = np.asarray(picture, np.float32) * (self.image_settings["rescale_factor"] / std).astype(np.float32)
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

    # ---- answers --------------------------------------------------------------------------------------------------

    def read_answers(self, outputs: dict[str, np.ndarray], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
        """Turns the outputs of the mask decoder into one answer per expression, as the processor does."""
        boxes, no_target = outputs.get("pred_boxes"), outputs.get("no_target_logits")
        return [
            self._read_answer(
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

    def _read_answer(self, logits: np.ndarray, no_target: float | None, box_cxcywh) -> dict[str, Any]:
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
        box = tight_box(mask) if box_cxcywh is None else self._box_on_image(box_cxcywh, mask.shape)
        return {"mask": mask, "score": found, "box_xyxy": box, "no_target": False}

    def _box_on_image(self, box_cxcywh, size_hw: tuple[int, int]) -> list[float]:
        """Turns (cx, cy, w, h) in fractions of the box canvas into [x0, y0, x1, y1] in image pixels."""
        settings, offset = self.image_settings, (0, 0)
        if settings["semantic_size"] is None:
            resized_hw = fit_segmenter(size_hw, settings["size"]["longest_edge"])
            sides = (settings["pad_size"]["width"], settings["pad_size"]["height"])
        else:
            resized_hw = fit_semantic(size_hw, settings["semantic_size"])
            offset = centred_offset(resized_hw, settings["semantic_size"])
            sides = (settings["semantic_size"],) * 2
        centre, size = [float(value) for value in box_cxcywh[:2]], [float(value) for value in box_cxcywh[2:]]
        corners = []
        for sign in (-1, 1):
            for axis in (0, 1):
                length, ratio = size_hw[1 - axis], resized_hw[1 - axis] / size_hw[1 - axis]
                value = (centre[axis] + sign * size[axis] / 2) * sides[axis] - offset[axis]
                corners.append(min(max(value, 0.0) / ratio, float(length)))
        return corners


class ExpressionReader:
    """
    Turns expressions into token ids as the processor of the folder does.

    Args:
        folder: Holds `tokenizer.json` and `tokenizer_config.json`.
        settings: Of `processor_config.json`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        config = _read_json(folder / "tokenizer_config.json")
        self.tokenizer = Tokenizer.from_file(str(_existing(folder / "tokenizer.json")))
        self.tokenizer.no_padding()
        self.settings = settings
        self.limit = settings["max_expression_length"] or config["model_max_length"]
        self.padding_side = config.get("padding_side", "right")
        self.truncation_side = config.get("truncation_side", "right")
        self.pad_id = settings["pad_token_id"]
        if self.pad_id is None:
            token = config["pad_token"]
            self.pad_id = self.tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)

    def __call__(self, expressions: list[str]) -> dict[str, np.ndarray]:
        """Returns `input_ids` and `attention_mask`, (E, L) int64."""
        if not expressions:
            raise ValueError("expected at least one expression, got none")
        for text in expressions:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"expected words as expression, got {text!r}")
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
            place = slice(0, len(row)) if self.padding_side == "right" else slice(width - len(row), width)
            ids[number, place], mask[number, place] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    def _format(self, expression: str) -> str:
        expression = " ".join(expression.split())
        expression = expression.lower() if self.settings["lowercase"] else expression
        return self.settings["expression_template"].replace("{}", expression)


def read_rgb(image: Any) -> Image.Image:
    """Reads a PIL image or a file: upright by its EXIF orientation, transparency on white, 8-bit RGB."""
    try:
        picture = image if isinstance(image, Image.Image) else Image.open(image)
        picture.load()
        if picture.getexif().get(EXIF_ORIENTATION, 1) != 1:
            picture = ImageOps.exif_transpose(picture)
    except Exception as error:  # decoders fail in many ways, each of which means a bad file
        raise ValueError(f"could not read an image from {image!r} ({error})") from error
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_to_uint8(np.asarray(picture)))
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    """16-bit, 32-bit and float pixels as 8 bits; floats may be in 0..1 or 0..255."""
    low, high = pixels.min(), pixels.max()
    limit = 255.001 if pixels.dtype.kind == "f" else 65535
    if not (low >= -0.001 and high <= limit):  # NaN fails too
        raise ValueError(f"expected pixels from 0 to {limit:.0f}, got values from {low} to {high}")
    if pixels.dtype.kind == "f":
        return np.clip(np.rint(pixels * 255.0 if high <= 1.001 else pixels), 0, 255).astype(np.uint8)
    deep = pixels.dtype == np.uint16 or high > 255
    return ((pixels.astype(np.uint32) + 128) // 257 if deep else pixels).astype(np.uint8)


def fit_segmenter(size_hw: tuple[int, int], longest_edge: int) -> tuple[int, int]:
    """Size (height, width) of an image on SAM's canvas, rounded as SAM rounds."""
    scale = longest_edge * 1.0 / max(size_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in size_hw)
    return height, width


def fit_semantic(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Size (height, width) of an image on the semantic canvas."""
    ratio = side / float(max(size_hw))
    height, width = (max(1, round(length * ratio)) for length in size_hw)
    return height, width


def centred_offset(resized_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """The (left, top) that centres an image on a square canvas."""
    height, width = resized_hw
    return round((side - width) / 2 - 0.1), round((side - height) / 2 - 0.1)


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


def tight_box(mask: np.ndarray) -> list[float]:
    """[x0, y0, x1, y1] around the pixels of a mask, right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def draw_overlay(picture: Image.Image, answers: list[dict[str, Any]]) -> Image.Image:
    """Tints each mask in a colour of its own."""
    pixels = np.asarray(picture, np.float32).copy()
    for number, answer in enumerate(answers):
        pixels[answer["mask"]] = pixels[answer["mask"]] * 0.45 + np.array(COLOURS[number % len(COLOURS)]) * 0.55
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _sigmoid(logits):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def _logit(probability: float) -> float:
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability / (1 - probability))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"no {path.name} in {str(path.parent)!r}; give a folder that ssp-sam export-onnx wrote")
    return path


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(_existing(path).read_text("utf-8"))


def _numbers(count: int):
    def read(text: str) -> list[float]:
        try:
            values = [float(value) for value in text.split(",")]
        except ValueError:
            values = []
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"expected {count} numbers with commas between them, got {text!r}")
        return values

    return read


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, or 2 with one line on standard error for bad input."""
    parser = _Parser(description="Segments what expressions refer to, on ONNX Runtime.")
    parser.add_argument("image", help="picture file")
    parser.add_argument("expressions", nargs="+", metavar="EXPRESSION", help="what to find in it")
    parser.add_argument("--model", default=Path(__file__).parent, help="exported folder (default: that of this file)")
    parser.add_argument("--output", metavar="FILE", help="write the picture with its masks tinted")
    parser.add_argument("--masks-dir", metavar="DIR", help="write each mask as black and white PNG into this folder")
    parser.add_argument("--point", action="append", type=_numbers(3), metavar="X,Y,LABEL", help="1 inside, 0 outside")
    parser.add_argument("--box", type=_numbers(4), metavar="X1,Y1,X2,Y2", help="a box in pixels of the image")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    options = parser.parse_args(arguments)
    points = options.point or []
    try:
        if options.threads < 0:
            raise ValueError(f"--threads must be at least 0, got {options.threads}")
        overlay, masks = _result_files(options)
        picture = read_rgb(options.image)
        segment = OnnxSegmenter(options.model, num_threads=options.threads)
        answers = segment(
            picture,
            options.expressions,
            input_points=[point[:2] for point in points] or None,
            input_labels=[point[2] for point in points] or None,
            input_box=options.box,
        )
        if overlay:
            draw_overlay(picture, answers).save(overlay)
        for answer, path in zip(answers, masks, strict=True):
            line = {name: value for name, value in answer.items() if name != "mask"}
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(answer["mask"].astype(np.uint8) * 255).save(path)
                line["mask"] = str(path)
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    return 0


def _result_files(options: argparse.Namespace) -> tuple[Path | None, list[Path | None]]:
    """The files of the overlay and of each mask, none of which may be the picture itself."""
    overlay, masks = Path(options.output) if options.output else None, [None] * len(options.expressions)
    if options.masks_dir:
        slugs = [re.sub(r"\W+", "-", text.lower()).strip("-")[:40] for text in options.expressions]
        masks = [Path(options.masks_dir) / f"{number}_{slug}.png" for number, slug in enumerate(slugs, start=1)]
    for path in (overlay, *masks):
        if path and path.resolve() == Path(options.image).resolve():
            raise ValueError(
                f"the result {str(path)!r} is the picture itself and would replace it; choose another name"
            )
    return overlay, masks


if __name__ == "__main__":
    sys.exit(main())
