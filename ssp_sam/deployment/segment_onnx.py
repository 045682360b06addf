# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Segments what expressions refer to, with a folder that `ssp-sam export-onnx` wrote and without torch or transformers.

    python exported/segment_onnx.py photo.jpg "the red car" "the dog" --output overlay.png

It is copied into that folder, with the files that it imports. It needs onnxruntime, numpy, pillow and tokenizers.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from PIL import Image

    from ..processing.visualization.overlay import draw_overlay
    from .numpy_processor import NumpyProcessor, existing_file, read_rgb
except ImportError as error:
    sys.exit(f"{error.name} is missing; run: pip install onnxruntime numpy pillow tokenizers")

EXPRESSIONS_PER_PASS = 64


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
            path = existing_file(folder / f"{name}.onnx")
            existing_file(folder / f"{name}.onnx.data")
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
            target, and with points or a box that around the mask; `no_target`; `unknown_words`, those that the
            tokenizer does not know.

        Raises:
            ValueError: If the image cannot be read, an expression is empty, or a point lies outside the image.
        """
        expressions = [expressions] if isinstance(expressions, str) else list(expressions)
        image = read_rgb(image)
        size_hw = (image.height, image.width)
        tokens = self.processor.tokenize(expressions)
        points = self.processor.points(size_hw, input_points, input_labels, input_box)
        features = self.run("image_encoder", **self.processor.canvases(image))
        predictions = []
        for start in range(0, len(expressions), EXPRESSIONS_PER_PASS):
            rows = slice(start, start + EXPRESSIONS_PER_PASS)
            batch = {name: values[rows] for name, values in tokens.items()}
            count = len(batch["input_ids"])
            batch |= {name: np.repeat(values, count, axis=0) for name, values in points.items()}
            outputs = self.run("mask_decoder", **features, image_index=np.zeros(count, np.int64), **batch)
            if points["input_labels"].size:
                outputs.pop("pred_boxes", None)  # which comes from the words, while the mask follows points and box
            predictions += self.processor.read_outputs(outputs, size_hw)
        return [
            {"label": text, **prediction, "unknown_words": self.processor.tokenize.unknown_words(text)}
            for text, prediction in zip(expressions, predictions, strict=True)
        ]

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
    parser.add_argument("image", help="image file")
    parser.add_argument("expressions", nargs="+", metavar="EXPRESSION", help="what to find in it")
    parser.add_argument("--model", default=Path(__file__).parent, help="exported folder (default: that of this file)")
    parser.add_argument("--output", metavar="FILE", help="write the image with masks, boxes and a legend")
    parser.add_argument("--masks-dir", metavar="DIR", help="write each mask as black and white PNG into this folder")
    parser.add_argument("--point", action="append", type=_numbers(3), metavar="X,Y,LABEL", help="1 inside, 0 outside")
    parser.add_argument(
        "--box", action="append", type=_numbers(4), metavar="X1,Y1,X2,Y2", help="a box in pixels of the image"
    )
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    options = parser.parse_args(arguments)
    try:
        _segment(options)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    return 0


def _segment(options: argparse.Namespace) -> None:
    """Segments, prints one line of JSON for each expression, and writes the files that are wanted."""
    points, boxes = options.point or [], options.box or [None]
    if options.threads < 0:
        raise ValueError(f"--threads must be at least 0, got {options.threads}")
    if len(boxes) > 1:
        raise ValueError(f"--box is one box for all expressions, got {len(boxes)}")
    overlay, masks = _result_files(options)
    image = read_rgb(options.image)
    segment = OnnxSegmenter(options.model, num_threads=options.threads)
    predictions = segment(
        image,
        options.expressions,
        input_points=[point[:2] for point in points] or None,
        input_labels=[point[2] for point in points] or None,
        input_box=boxes[0],
    )
    images = [Image.fromarray(prediction.pop("mask").astype(np.uint8) * 255) for prediction in predictions]
    if overlay:
        names = ("xmin", "ymin", "xmax", "ymax")
        results = [
            {**prediction, "mask": mask, "box": prediction["box_xyxy"] and dict(zip(names, prediction["box_xyxy"]))}
            for prediction, mask in zip(predictions, images)
        ]
        draw_overlay(image, results).save(overlay)
    for prediction, mask, path in zip(predictions, images, masks, strict=True):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            mask.save(path)
            prediction["mask"] = str(path)
        sys.stdout.write(json.dumps(prediction, ensure_ascii=False) + "\n")


def _result_files(options: argparse.Namespace) -> tuple[Path | None, list[Path | None]]:
    """The files of the overlay and of each mask, none of which may be the image itself."""
    overlay, masks = Path(options.output) if options.output else None, [None] * len(options.expressions)
    if options.masks_dir:
        slugs = [re.sub(r"\W+", "-", text.lower()).strip("-")[:40] for text in options.expressions]
        masks = [Path(options.masks_dir) / f"{number}_{slug}.png" for number, slug in enumerate(slugs, start=1)]
    for path in (overlay, *masks):
        if path and path.resolve() == Path(options.image).resolve():
            raise ValueError(f"the result {str(path)!r} is the image itself and would replace it; choose another name")
    return overlay, masks


if __name__ == "__main__":
    sys.exit(main())
