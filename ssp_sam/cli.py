"""The command `ssp-sam`."""
# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm
from transformers import pipeline
from transformers.utils import logging

from . import EMBEDDED_CHECKPOINT, __version__
from .modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from .overlay import draw_overlay
from .processing.image_inputs_ssp_sam import read_rgb

USAGE = """ssp-sam segment IMAGE EXPRESSION [EXPRESSION ...] [options]
       ssp-sam segment EXPRESSION [EXPRESSION ...] --images IMAGE [IMAGE ...] [options]"""
DTYPES = ("auto", "float32", "bfloat16", "float16")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
OVERLAY_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class InputError(Exception):
    """Something the user gave cannot be used; the message says what, in one line."""


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line, without the whole usage before it."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs the command and returns its exit code: 0, or 2 for bad usage or input, with one line on standard error.

    Args:
        arguments: the words after `ssp-sam`; those of the process when not given.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _segment(options)
    except InputError as error:
        print(f"ssp-sam: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssp-sam: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ssp-sam", description="Finds in images what sentences refer to.")
    parser.add_argument("--version", action="version", version=f"ssp-sam {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    segment = commands.add_parser(
        "segment",
        usage=USAGE,
        help="draw the mask of each expression over an image",
        description="Segments what each expression refers to, draws the masks over the image and prints scores and "
        "boxes. IMAGE is a file, a URL, or a folder, which stands for all images in it.",
    )
    segment.add_argument("words", nargs="+", metavar="IMAGE EXPRESSION", help="an image and what to find in it")
    segment.add_argument("--images", nargs="+", metavar="IMAGE", help="several images; then all words are expressions")
    segment.add_argument("--model", metavar="ID_OR_DIR", help="Hub id or folder of a model (default: the embedded one)")
    segment.add_argument(
        "--output",
        metavar="FILE",
        help="overlay to write; for a folder or --images the folder to write overlays into (default: overlay.png, "
        "or overlays/; nothing when --json or --masks-dir is given)",
    )
    segment.add_argument("--masks-dir", metavar="DIR", help="write each mask as black and white PNG into this folder")
    segment.add_argument("--json", action="store_true", help="print one JSON object per image, one per line")
    segment.add_argument(
        "--point",
        action="append",
        type=_point,
        metavar="X,Y,LABEL",
        help="a click in pixels of the image, label 1 on what is meant, 0 beside it; may be repeated",
    )
    segment.add_argument("--box", type=_box, metavar="X1,Y1,X2,Y2", help="a box in pixels of the image")
    segment.add_argument(
        "--device", metavar="NAME", help="such as cpu, cuda or cuda:1 (default: an accelerator if any)"
    )
    segment.add_argument("--dtype", choices=DTYPES, default="auto", help="precision to compute in")
    return parser


def _point(text: str) -> tuple[float, float, int]:
    match = re.fullmatch(r"\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([01])\s*", text)
    try:
        return float(match[1]), float(match[2]), int(match[3])
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"expected x,y,label with label 0 or 1, such as 120,80,1, got {text!r}"
        ) from None


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(value) for value in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected x1,y1,x2,y2, such as 10,20,200,180, got {text!r}") from None
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        raise argparse.ArgumentTypeError(f"expected 0 <= x1 < x2 and 0 <= y1 < y2, got {text!r}")
    return x1, y1, x2, y2


# ---- one run --------------------------------------------------------------------------------------------------------


def _segment(options: argparse.Namespace) -> int:
    # 1. What is asked for, checked before the model is loaded.
    sources, expressions, several = _sources_and_expressions(options)
    if several and (options.point or options.box):
        raise InputError("--point and --box are pixels of one image: give one image file instead of several")
    overlays = _overlay_paths(options, sources, several)
    names = _unique_names(sources)
    segmenter = _load(options)

    # 2. Image by image; in a series, one that cannot be read does not stop the others.
    failures = 0
    for source in tqdm(sources, unit="image", disable=not several, file=sys.stderr):
        try:
            record, text = _segment_one(segmenter, source, expressions, options, overlays[source], names[source])
        except InputError as error:
            if not several:
                raise
            failures += 1
            record, text = {"image": source, "error": str(error)}, None
            tqdm.write(f"ssp-sam: {error}", file=sys.stderr)
        if options.json:
            tqdm.write(json.dumps(record, ensure_ascii=False), file=sys.stdout)
        elif text:
            tqdm.write(text, file=sys.stdout)
    if failures:
        print(f"ssp-sam: {failures} of {len(sources)} images could not be segmented", file=sys.stderr)
    return 2 if failures else 0


def _segment_one(segmenter, source, expressions, options, overlay_path, name) -> tuple[dict[str, Any], str]:
    """Segments one image and writes its files; returns the record for `--json` and the lines for a reader."""
    try:
        image, _ = read_rgb(source)
    except (ValueError, OSError) as error:
        raise InputError(_one_line(error)) from error
    try:
        results = segmenter(image, expressions, **_spatial(options, image))
    except (ValueError, TypeError) as error:
        raise InputError(f"{source}: {_one_line(error)}") from error

    files = [None] * len(results)
    if options.masks_dir is not None:
        files = [_mask_path(options.masks_dir, name, i, result["label"]) for i, result in enumerate(results, start=1)]
        for path, result in zip(files, results):
            _save(result["mask"], path)
    if overlay_path is not None:
        _save(draw_overlay(image, results), overlay_path)

    record = {"image": source, "width": image.width, "height": image.height, "overlay": overlay_path}
    record["results"] = [_json_result(result, file) for result, file in zip(results, files)]
    lines = [f"{source} ({image.width} x {image.height})"]
    for number, result in enumerate(results, start=1):
        lines.append(f"  {number}. {result['label']}: {_found(result)}")
    lines += [f"  mask {path}" for path in files if path is not None]
    lines += [f"  overlay {overlay_path}"] if overlay_path is not None else []
    return record, "\n".join(lines)


def _found(result: dict[str, Any]) -> str:
    if result["no_target"]:
        return "nothing found"
    box = result["box"]
    place = f", box {box['xmin']},{box['ymin']},{box['xmax']},{box['ymax']}" if box else ""
    return f"score {result['score']:.2f}{place}"


def _json_result(result: dict[str, Any], file: str | None) -> dict[str, Any]:
    mask = {"file": file} if file is not None else run_lengths(result["mask"])
    fields = {key: result[key] for key in ("score", "box", "no_target")}
    return {"expression": result["label"], **fields, "mask": mask}


def run_lengths(mask: Image.Image) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths of a mask: column by column, counting zeros first; `size` is height, width."""
    column_major = (np.asarray(mask.convert("L")) > 127).T.ravel()
    borders = np.flatnonzero(np.diff(column_major)) + 1
    counts = np.diff(np.concatenate([[0], borders, [column_major.size]])).tolist()
    starts_inside = [0] if column_major[0] else []
    return {"size": [mask.height, mask.width], "counts": starts_inside + counts}


# ---- what the arguments name ----------------------------------------------------------------------------------------


def _sources_and_expressions(options: argparse.Namespace) -> tuple[list[str], list[str], bool]:
    """The images, the expressions, and whether the images are a series."""
    words = list(options.words)
    named = options.images if options.images is not None else [words.pop(0)]
    if not words:
        raise InputError(f"expected an image and at least one expression, got {options.words[0]!r} alone")
    for word in words:
        if not word.strip():
            raise InputError(f"expected words as expression, got {word!r}")
    sources: list[str] = []
    for name in named:
        if os.path.isdir(name):
            inside = sorted(str(path) for path in Path(name).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise InputError(f"no images in the folder {name!r}; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
            sources += inside
        elif os.path.isfile(name) or name.startswith(("http://", "https://")):
            sources.append(name)
        else:
            hint = "; expressions go before --images" if options.images is not None else ""
            raise InputError(f"no image file or folder at {name!r}{hint}")
    several = options.images is not None or os.path.isdir(named[0])
    return list(dict.fromkeys(sources)), words, several


def _overlay_paths(options: argparse.Namespace, sources: list[str], several: bool) -> dict[str, str | None]:
    """Where the overlay of each image goes: None where none is wanted."""
    output = options.output
    if output is None:
        if options.json or options.masks_dir is not None:
            return dict.fromkeys(sources)
        output = "overlays" if several else "overlay.png"
    if options.masks_dir is not None and os.path.isfile(options.masks_dir):
        raise InputError(f"--masks-dir must be a folder, got the file {options.masks_dir!r}")
    if several and os.path.isfile(output):
        raise InputError(f"--output must be a folder for several images, got the file {output!r}")
    if several or os.path.isdir(output):
        names = _unique_names(sources)
        paths = {source: os.path.join(output, f"{names[source]}_overlay.png") for source in sources}
    else:
        if Path(output).suffix.lower() not in OVERLAY_SUFFIXES:
            raise InputError(f"--output must end in one of {' '.join(sorted(OVERLAY_SUFFIXES))}, got {output!r}")
        paths = {sources[0]: output}
    inputs = {os.path.realpath(source) for source in sources}
    for path in paths.values():
        if os.path.realpath(path) in inputs:
            raise InputError(f"--output {path!r} is an input image and would be lost; choose another name")
    return paths


def _unique_names(sources: list[str]) -> dict[str, str]:
    """A file name without suffix for the results of each image, distinct where images share theirs."""
    names: dict[str, str] = {}
    for source in sources:
        stem = re.sub(r"[^\w.-]+", "-", Path(source.split("?")[0]).stem) or "image"
        name, number = stem, 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[source] = name
    return names


def _mask_path(folder: str, name: str, number: int, expression: str) -> str:
    words = re.sub(r"\W+", "-", expression.lower()).strip("-")[:40].strip("-")
    return os.path.join(folder, f"{name}_{number}_{words or 'expression'}.png")


def _save(image: Image.Image, path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        image.save(path)
    except OSError as error:
        raise InputError(f"cannot write {path!r}: {_one_line(error)}") from error


def _spatial(options: argparse.Namespace, image: Image.Image) -> dict[str, Any]:
    """Clicks and box as the pipeline takes them, after checking that they lie in the image."""
    spatial: dict[str, Any] = {}
    for x, y, _ in options.point or ():
        if x >= image.width or y >= image.height:
            raise InputError(f"--point {x:g},{y:g} lies outside the image of {image.width} x {image.height} pixels")
    if options.point:
        spatial["input_points"] = [[x, y] for x, y, _ in options.point]
        spatial["input_labels"] = [label for _, _, label in options.point]
    if options.box:
        if options.box[2] > image.width or options.box[3] > image.height:
            given = ",".join(f"{value:g}" for value in options.box)
            raise InputError(f"--box {given} reaches outside the image of {image.width} x {image.height} pixels")
        spatial["input_boxes"] = list(options.box)
    return spatial


# ---- the model ------------------------------------------------------------------------------------------------------


def _load(options: argparse.Namespace) -> ReferringSegmentationPipeline:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = options.model if options.model is not None else str(EMBEDDED_CHECKPOINT)
    if options.model is None and not EMBEDDED_CHECKPOINT.is_dir():
        raise InputError(f"the embedded checkpoint is missing at {model!r}; reinstall ssp-sam or pass --model")
    if options.model is not None and not os.path.isdir(model) and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise InputError(f"--model must be a folder or a Hub id such as owner/name, got {model!r}")
    if os.path.isdir(model) and not os.path.isfile(os.path.join(model, "config.json")):
        raise InputError(f"no config.json in the folder --model {model!r}")
    try:
        device = None if options.device is None else torch.device(options.device)
        return pipeline(
            "referring-segmentation",
            model=model,
            device=device,
            dtype=options.dtype,
            pipeline_class=ReferringSegmentationPipeline,
        )
    except (OSError, ValueError, RuntimeError, AssertionError, KeyError, ImportError) as error:
        raise InputError(f"cannot load {model!r}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """The message of an error up to its first line break, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
