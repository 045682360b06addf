# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Which files the command `ssp-sam` reads and writes."""

import argparse
import contextlib
import itertools
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

MAX_WEBP_SIDE = 16383
DRAWING_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class InputError(Exception):
    """Something the user gave cannot be used; the message says what, in one line."""


@contextlib.contextmanager
def told(*kinds: type[Exception], about: str = "") -> Iterator[None]:
    """
    Turns what goes wrong with things that a user gave into an `InputError`.

    Args:
        kinds: The errors; `OSError` and `ValueError` when not given.
        about: What stands before the reason.
    """
    kinds = kinds or (OSError, ValueError)
    try:
        yield
    except kinds as error:
        raise InputError(f"{about}{one_line(error)}") from error


@dataclass
class ResultFiles:
    """The files that one image's results go into."""

    overlay: str | None = None  # path of the overlay, None where none is wanted
    masks: list[str] = field(default_factory=list)  # path of the mask of each expression, empty where none are wanted


def find_images(names: list[str], hint: str = "", standard_input: bool = False) -> list[str]:
    """
    Returns files and URLs as they are, and for each folder the images in it by name; nothing twice. `-` stands for
    standard input, where that is allowed. Raises `InputError` for a name that is none of these, followed by a hint, and
    for a folder without images.
    """
    from ..processing.image_inputs import list_images

    sources: list[str] = []
    for name in names:
        if "\0" in name:
            raise InputError(f"no file has the name {name!r}, which holds a NUL")
        if os.path.isdir(name):
            inside = [str(path) for path in list_images(name)]
            if not inside:
                raise InputError(f"no images in the folder {name!r}")
            sources += inside
        elif (
            os.path.isfile(name) or name.lower().startswith(("http://", "https://")) or (standard_input and name == "-")
        ):
            sources.append(name)
        else:
            raise InputError(f"no image file or folder at {name!r}{hint}")
    return list(dict.fromkeys(sources))


def plan_results(
    sources: list[str], expressions: list[str], *, several: bool, output: str | None, masks_dir: str | None
) -> dict[str, ResultFiles]:
    """
    Decides the files of every image before anything is computed: overlays in a file, or a folder for several, and masks
    in a folder, each None for none.

    Raises:
        InputError: if a name cannot be written to, or if an input image would be overwritten.
    """
    if masks_dir is not None and os.path.isfile(masks_dir):
        raise InputError(f"--masks-dir must be a folder, got the file {masks_dir!r}")
    into_folder = output is not None and (several or os.path.isdir(output))
    if into_folder and (os.path.isfile(output) or not os.path.isdir(output) and _is_drawing_name(output)):
        raise InputError(f"--output must be a folder with --images or for a folder of them, got {output!r}")
    if output is not None and not into_folder and not _is_drawing_name(output):
        raise InputError(f"--output must end in one of {' '.join(sorted(DRAWING_SUFFIXES))}, got {output!r}")

    plan = {}
    for source, name in unique_names(sources).items():
        files = ResultFiles(os.path.join(output, f"{name}_overlay.png") if into_folder and output else output)
        if masks_dir is not None:
            files.masks = [
                os.path.join(masks_dir, f"{name}_{number}_{_slug(expression)}.png")
                for number, expression in enumerate(expressions, start=1)
            ]
        plan[source] = files
    inputs = {_file_number(source) for source in sources} - {None}
    for files in plan.values():
        for path in (files.overlay, *files.masks):
            if path is not None and _file_number(path) in inputs:
                raise InputError(f"the result {path!r} is an input image and would be lost; choose another name")
    return plan


def check_writable(path: str) -> None:
    """Raises an `InputError` if no file can be written under a name, before what goes into it is computed."""
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"cannot write {path!r} ({os.strerror(error.errno or 0)}); name another") from error


def check_expressions(words: list[str]) -> None:
    """
    Raises an `InputError` for a word in place of an expression that no model could read, or that is the name of a file.
    """
    from ..processing.expressions import check_expression

    for number, word in enumerate(words, start=1):
        with told(ValueError):
            check_expression(word, f"expression {number}")
        if os.path.isfile(word):
            raise InputError(f"expected words as expression, got the file {word!r}; several images go after --images")


def check_drawing_name(option: str, path: str) -> None:
    """Raises an `InputError` if no drawing can be written under a name that an option gave."""
    if not _is_drawing_name(path) or os.path.isdir(path):
        raise InputError(f"{option} must end in one of {' '.join(sorted(DRAWING_SUFFIXES))}, got {path!r}")


def write_image(image: "Image.Image", path: str) -> None:
    """Writes an image, and the folders above it where they are missing."""
    from ..training.atomic_files import WriteError, write_aside

    if path.lower().endswith(".webp") and max(image.size) > MAX_WEBP_SIDE:
        size = f"{image.width} x {image.height}"
        raise InputError(f"cannot write {path!r}: WebP has at most {MAX_WEBP_SIDE} pixels a side, got {size}; use PNG")
    if image.mode == "RGBA" and not path.lower().endswith((".png", ".webp", ".tif", ".tiff")):
        from ..processing.image_files import lay_on_white

        image = lay_on_white(image)
    try:
        with write_aside(path) as aside:
            image.save(aside)
    except WriteError as error:
        raise InputError(str(error)) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path!r}: {one_line(error)}") from error


def write_json(content: object, path: str) -> None:
    """Writes JSON, and the folders above it where they are missing."""
    from ..training.atomic_files import write_text

    with told(OSError):  # which names the file
        write_text(path, json.dumps(content, ensure_ascii=False))


def read_source(source: str) -> "Image.Image":
    """Returns the image of one of the sources that `find_images` returns, upright and in RGB."""
    from ..processing.image_inputs import read_rgb

    with told():
        return read_rgb(sys.stdin.buffer if source == "-" else source)[0]


def read_expressions(path: str) -> list[str]:
    """
    Returns the expressions in a text file, one in each line that is not empty; raises `InputError` where there is none.
    """
    with told(about=f"--expressions {path!r} cannot be read: "):
        lines = Path(path).read_text("utf-8-sig").splitlines()
    expressions = [line.strip() for line in lines if line.strip()]
    if not expressions:
        raise InputError(f"--expressions {path!r} holds no expression; write one in each line")
    return expressions


@contextlib.contextmanager
def shown_while(text: str, quiet: bool = False, after: float = 1.0):
    """Shows what is under way, from `after` seconds on and until it is done, where standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    done, line = threading.Event(), threading.Thread(target=lambda: _turn(text, done, after), daemon=True)
    line.start()
    try:
        yield
    finally:
        done.set()
        line.join()


def _turn(text: str, done: threading.Event, after: float):
    if done.wait(after):
        return
    for sign in itertools.cycle("|/-\\"):
        print(f"\r{sign} {text}", end="", file=sys.stderr, flush=True)
        if done.wait(0.1):
            break
    print(f"\r{' ' * (len(text) + 2)}\r", end="", file=sys.stderr, flush=True)


def unknown_words_note(result: dict) -> str:
    """The words of a result's expression that the model does not know, as the end of a line; nothing without any."""
    return f"; unknown words: {', '.join(result['unknown_words'])}" if result["unknown_words"] else ""


def one_line(error: BaseException) -> str:
    """Returns the message of an error up to its first line break, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "trust_remote_code" in str(error):  # transformers advises an argument that no command has
        subject = re.split("Loading this model requires|The repository ", lines[0])[0]
        return f"{subject}it brings code of its own to run, which ssp-sam does not do"
    return lines[0].rstrip(".") if lines else type(error).__name__


def shortened(line: str, limit: int = 400) -> str:
    """Returns a line, without the middle where it is longer than `limit` characters, as names of files may be."""
    return line if len(line) <= limit else f"{line[: limit - 120]} … {line[-110:]}"


def port(text: str) -> int:
    """Reads a port to listen on from the command line."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _file_number(path: str) -> tuple[int, int] | None:
    """What is the same for all names of one file, hard links among them; None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_drawing_name(path: str) -> bool:
    return Path(path).suffix.lower() in DRAWING_SUFFIXES


def unique_names(sources: list[str]) -> dict[str, str]:
    """Returns a file name without suffix for the results of each image, distinct where images share theirs."""
    names: dict[str, str] = {}
    for source in sources:
        stem = "image" if source == "-" else re.sub(r"[^\w.-]+", "-", Path(source.split("?")[0]).stem) or "image"
        name, number = stem, 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[source] = name
    return names


def _slug(expression: str) -> str:
    words = re.sub(r"\W+", "-", expression.lower()).strip("-")
    return words[:40].strip("-") or "expression"
