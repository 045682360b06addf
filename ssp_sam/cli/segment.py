# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Segments what each expression refers to, draws the masks over the image and prints scores and boxes. IMAGE is a file, a
URL, - for standard input, or a folder, which stands for all images in it.
"""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from .files import (
    InputError,
    ResultFiles,
    check_expressions,
    check_writable,
    find_images,
    plan_results,
    read_expressions,
    read_source,
    shortened,
    shown_while,
    told,
    unique_names,
    unknown_words_note,
    write_image,
    write_json,
)
from .model import add_model_options, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from PIL import Image

    from ..processing.segmentation_results import SegmentationResult

FORMATS = {  # what `--format` writes, and where to by default
    "json": "a JSON object per image, printed",
    "png": "masks in black and white, in masks/",
    "coco": "one dataset of COCO, in annotations.json",
    "labelme": "a file of labelme per image, in labelme/",
}
STYLES = ("masks", "boxes", "outline", "cutout")  # those of the drawing, whose import takes long
RESULT_KEYS = ("score", "box", "no_target", "unknown_words")
USAGE = """ssp-sam segment IMAGE EXPRESSION [EXPRESSION ...] [options]
       ssp-sam segment EXPRESSION [EXPRESSION ...] --images IMAGE [IMAGE ...] [options]"""


EXAMPLE = 'ssp-sam segment photo.png "the red car" "the dog on the left"'


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.usage = USAGE
    parser.add_argument("words", nargs="*", metavar="IMAGE EXPRESSION", help="an image and what to find in it")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", help="several images; then all words are expressions")
    parser.add_argument("--expressions", metavar="FILE", help="a text file with further expressions, one in each line")
    add_model_options(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="overlay to write; for a folder or --images the folder to write overlays into (default: overlay.png, "
        "or overlays/; nothing when --json, --masks-dir or --format is given); with --format what that writes",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="write results in place of an overlay: " + "; ".join(f"{name}, {what}" for name, what in FORMATS.items()),
    )
    parser.add_argument("--style", choices=STYLES, default="masks", help="what is drawn of each mask (masks)")
    parser.add_argument("--no-legend", action="store_true", help="draw words and scores on the image, nothing under it")
    parser.add_argument("--compare", action="store_true", help="draw the image as it is beside the overlay")
    parser.add_argument("--masks-dir", metavar="DIR", help="write each mask as black and white PNG into this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object per image, one per line")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors, and what --json asks for")
    parser.add_argument(
        "--point",
        action="append",
        type=_point,
        metavar="X,Y,LABEL",
        help="a click in pixels of the image, label 1 on what is meant, 0 beside it; may be repeated",
    )
    parser.add_argument(
        "--box",
        action="append",
        type=_box,
        metavar="X1,Y1,X2,Y2",
        help="a box in pixels of the image; repeated, one for each expression in order",
    )


def _point(text: str) -> tuple[float, float, int]:
    try:
        x, y, label = (float(value) for value in text.split(","))
    except ValueError:
        x = y = label = -1.0
    if not (x >= 0 and y >= 0 and label in (0, 1)):
        raise argparse.ArgumentTypeError(f"expected x,y,label with label 0 or 1, such as 120,80,1, got {text!r}")
    return x, y, int(label)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(value) for value in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected x1,y1,x2,y2, such as 10,20,200,180, got {text!r}") from None
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        raise argparse.ArgumentTypeError(f"expected 0 <= x1 < x2 and 0 <= y1 < y2, got {text!r}")
    return x1, y1, x2, y2


def run(options: argparse.Namespace) -> int:
    """Segments the images that were named; returns 0, or 2 if one of several could not be read."""
    # 1. What is asked for, checked before the model is loaded.
    words = [*options.words, *(read_expressions(options.expressions) if options.expressions else [])]
    if not (words or options.images):
        raise InputError("expected an image and at least one expression; see ssp-sam segment --help")
    several = options.images is not None or os.path.isdir(words[0])
    named = options.images if options.images is not None else [words.pop(0)]
    if not words:
        raise InputError(f"expected an image and at least one expression, got {named[0]!r} alone")
    check_expressions(words)
    if several and (options.point or options.box):
        raise InputError("--point and --box are pixels of one image: give one image file instead of several")
    if options.box and len(options.box) not in (1, len(words)):
        raise InputError(f"expected one --box, or one for each of {len(words)} expressions, got {len(options.box)}")
    hint = "; expressions go before --images" if options.images is not None else ""
    sources = find_images(named, hint, standard_input=True)
    target = _take_format(options)
    output = options.output
    if output is None and not (options.json or options.masks_dir or options.format):
        output = "overlays" if several else "overlay.png"
    files = plan_results(sources, words, several=several, output=output, masks_dir=options.masks_dir)
    if options.format == "labelme":
        _labelme_files(target, sources)
    first = next(iter(files.values()))
    for path in (target, first.overlay, *first.masks[:1]):
        if path is not None:
            check_writable(path)
    with shown_while("loading the model", options.quiet):
        segmenter = load_pipeline(options)

    # 2. Image by image; in a series, one that cannot be read does not stop the others.
    failures: list[str] = []
    segmented = _segment_all(segmenter, files, words, options, several, failures)
    if target is not None:
        _write_annotations(options, target, segmented, sources)
    for _ in segmented:
        pass
    if failures:
        print(f"ssp-sam: {len(failures)} of {len(sources)} images could not be segmented", file=sys.stderr)
    return 2 if failures else 0


def _take_format(options: argparse.Namespace) -> str | None:
    """Turns `--format` into the options that mean the same; returns where annotations go, None for none."""
    if options.format == "json":
        options.json = True
    elif options.format == "png":
        options.masks_dir, options.output = options.masks_dir or options.output or "masks", None
    elif options.format is not None:
        target = options.output or {"coco": "annotations.json", "labelme": "labelme"}[options.format]
        options.output = None
        if options.format == "coco" and (os.path.isdir(target) or not target.endswith(".json")):
            raise InputError(f"--output must end in .json with --format coco, got {target!r}")
        if options.format == "labelme" and os.path.isfile(target):
            raise InputError(f"--output must be a folder with --format labelme, got the file {target!r}")
        return target
    return None


def _labelme_files(folder: str, sources: list[str]) -> dict[str, str]:
    """
    Returns the file of labelme for each image by its path; raises `InputError` where one holds what somebody else drew.
    """
    files = {os.path.join(folder, f"{name}.json"): source for source, name in unique_names(sources).items()}
    kinds = OSError, ValueError, KeyError, TypeError, AttributeError
    for path in filter(os.path.isfile, files):
        with told(*kinds, about=f"{path!r} is no file of labelme, and would be lost: "), open(path, "rb") as file:
            is_ours = all(str(shape.get("description")).startswith("score ") for shape in json.load(file)["shapes"])
        if not is_ours:
            raise InputError(f"{path!r} has shapes that somebody drew, and would be lost; choose another folder")
    return files


def _segment_all(
    segmenter,
    files: dict[str, ResultFiles],
    words: list[str],
    options: argparse.Namespace,
    several: bool,
    failures: list[str],
) -> "Iterator[tuple[str, list[SegmentationResult]]]":
    """Segments, writes and tells of one image after the other; adds those that cannot be read to `failures`."""
    from tqdm import tqdm

    for source in tqdm(files, unit="image", disable=not several or options.quiet, file=sys.stderr):
        try:
            record, text, results = _segment_one(segmenter, source, words, files[source], options)
        except InputError as error:
            if not several:
                raise
            failures.append(source)
            record, text, results = {"image": source, "error": str(error)}, None, None
            tqdm.write(shortened(f"ssp-sam: {error}"), file=sys.stderr)
        if options.json:
            tqdm.write(json.dumps(record, ensure_ascii=False), file=sys.stdout)
        elif text and not options.quiet:
            tqdm.write(text, file=sys.stdout)
        if results is not None:
            yield source, results


def _write_annotations(
    options: argparse.Namespace,
    target: str,
    segmented: "Iterable[tuple[str, list[SegmentationResult]]]",
    sources: list[str],
) -> None:
    """Writes results as COCO or labelme keep them."""
    from ..processing.segmentation_results import to_coco, to_labelme

    if options.format == "coco":
        are_distinct = len({os.path.basename(source) for source in sources}) == len(sources)
        write_json(
            to_coco((os.path.basename(source) if are_distinct else source, results) for source, results in segmented),
            target,
        )
    else:
        paths = {source: path for path, source in _labelme_files(target, sources).items()}
        for source, results in segmented:
            name = os.path.relpath(source, target) if os.path.isfile(source) else source
            write_json(to_labelme(name, results), paths[source])
    if not (options.quiet or options.json):
        print(f"  {options.format} {target}")


def _segment_one(
    segmenter, source: str, expressions: list[str], files: ResultFiles, options: argparse.Namespace
) -> "tuple[dict[str, Any], str, list[SegmentationResult]]":
    """Segments one image and writes its files; returns the record for `--json`, lines for a reader, and results."""
    from tqdm import tqdm

    from ..familiarity import hint_for
    from ..processing.visualization.overlay import draw_overlay

    image = read_source(source)
    with told(ValueError, TypeError, about=f"{source}: "):
        results = segmenter(image, expressions, **_spatial(options, image))
    for path, result in zip(files.masks, results):
        write_image(result["mask"], path)
    if files.overlay is not None:
        look = {"style": options.style, "legend": not options.no_legend, "compare": options.compare}
        write_image(draw_overlay(image, results, **look), files.overlay)

    record = {"image": source, "width": image.width, "height": image.height, "overlay": files.overlay}
    masks = [{"file": path} for path in files.masks] or [result.window.run_lengths() for result in results]
    record["results"] = [
        {"expression": result["label"], **{key: result[key] for key in RESULT_KEYS}, "mask": mask}
        for result, mask in zip(results, masks)
    ]
    if (hint := hint_for(segmenter, image, results)) is not None:
        record["hint"] = hint
        if not options.quiet:
            tqdm.write(f"ssp-sam: {hint}", file=sys.stderr)
    lines = [f"{source} ({image.width} x {image.height})"]
    lines += [f"  {number}. {result['label']}: {_found(result)}" for number, result in enumerate(results, start=1)]
    lines += [f"  mask {path}" for path in files.masks]
    lines += [f"  overlay {files.overlay}"] if files.overlay is not None else []
    return record, "\n".join(lines), results


def _found(result: dict[str, Any]) -> str:
    box, note = result["box"], unknown_words_note(result)
    if result["no_target"]:
        return f"nothing found{note}"
    corners = f", box {box['xmin']},{box['ymin']},{box['xmax']},{box['ymax']}" if box else ""
    return f"score {result['score']:.2f}{corners}{note}"


def _spatial(options: argparse.Namespace, image: "Image.Image") -> dict[str, Any]:
    """Clicks and box as the pipeline takes them, after checking that they lie in the image."""
    spatial: dict[str, Any] = {}
    for x, y, _ in options.point or ():
        if x > image.width or y > image.height:
            raise InputError(f"--point {x:g},{y:g} lies outside the image of {image.width} x {image.height} pixels")
    if options.point:
        spatial["input_points"] = [[x, y] for x, y, _ in options.point]
        spatial["input_labels"] = [label for _, _, label in options.point]
    for box in options.box or ():
        if box[2] > image.width or box[3] > image.height:
            given = ",".join(f"{value:g}" for value in box)
            raise InputError(f"--box {given} reaches outside the image of {image.width} x {image.height} pixels")
    if options.box:
        spatial["input_boxes"] = list(options.box[0]) if len(options.box) == 1 else [list(box) for box in options.box]
    return spatial
