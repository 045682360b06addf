# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads JSON files of any size and usual encoding; large ones element by element, so that memory holds one of them."""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from .records import PreparationError

_CHUNK = 1 << 20  # characters
# Marks at the beginning of a file; those of UTF-32 begin with that of UTF-16.
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """
    Opens a file of text: UTF-8, or UTF-16 and UTF-32 with their marks, any of them compressed by gzip or not.

    Raises:
        PreparationError: The file cannot be read, here or while it is read inside of the context.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            binary = gzip.GzipFile(fileobj=file) if packed else file
            start = binary.read(4)
            binary.seek(0)
            encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")
            yield io.TextIOWrapper(binary, encoding=encoding)  # pyright: ignore[reportArgumentType]
    except UnicodeDecodeError as error:
        raise PreparationError(f"{str(path)!r} is no text in UTF-8 ({error.reason}); save it as UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PreparationError(f"{str(path)!r} is damaged: cannot unpack it ({error}); fetch it again") from error
    except RecursionError as error:
        raise PreparationError(f"{str(path)!r} is damaged: its lists are nested without end") from error
    except OSError as error:
        raise PreparationError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def beginning_of(path: str | Path, characters: int = 1 << 16) -> str:
    """Returns the beginning of a file's text; "" where it is no text."""
    try:
        with open_text(path) as stream:
            return stream.read(characters)
    except PreparationError:
        return ""


def load_json(path: str | Path) -> Any:
    """Returns what a JSON file holds; raises `PreparationError` if it cannot be read."""
    with open_text(path) as stream:
        try:
            return json.load(stream)
        except json.JSONDecodeError as error:
            raise PreparationError(f"cannot read {str(path)!r} as JSON ({error}); fetch the file again") from error


def stream_items(
    path: str | Path, expand: Callable[[str, Any], Iterable[Any]] = lambda key, value: (value,)
) -> Iterator[tuple[str | None, Any]]:
    """
    Yields the elements of a file that is one JSON list, as (None, element), or one JSON object with lists in it, as
    each key with each element. Of a member that is no list, elements are what `expand` makes of its key and value; the
    value itself when not given.

    Raises:
        PreparationError: The file cannot be read, is neither, or is damaged; says where.
    """
    with open_text(path) as stream:
        text = _Text(stream, str(path))
        opening = text.next_character()
        if opening == "[":
            yield from ((None, element) for element in text.elements())
        elif opening == "{":
            for _ in text.separated("{", "}"):
                key = text.value()
                if not isinstance(key, str):
                    raise text.damaged(f"expected a name, got {key!r}")
                text.take(":")
                if text.next_character() == "[":
                    yield from ((key, element) for element in text.elements())
                else:
                    yield from ((key, element) for element in expand(key, text.value()))
        else:
            raise text.damaged(f"expected a list or an object, got {opening!r}")
        if text.next_character():
            raise text.damaged(f"expected the end of the file, got {text.next_character()!r}")


class _Text:
    """The part of a file around the position that is being read."""

    def __init__(self, stream: TextIO, name: str):
        self.stream, self.name = stream, name
        self.text, self.position, self.before, self.ended = "", 0, 0, False
        self.decoder = json.JSONDecoder()

    def _fill(self, characters: int = _CHUNK):
        chunk = self.stream.read(characters)
        self.before += self.position
        self.text, self.position, self.ended = self.text[self.position :] + chunk, 0, not chunk

    def next_character(self) -> str:
        """The next character that is no white space, not taken yet; "" at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in " \t\n\r":
                self.position += 1
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self._fill()

    def take(self, character: str):
        found = self.next_character()
        if found != character:
            raise self.damaged(f"expected {character!r}, got {found!r}")
        self.position += 1

    def separated(self, opening: str, closing: str) -> Iterator[None]:
        """Yields before each element of a list or object, which is then to be taken."""
        self.take(opening)
        while self.next_character() != closing:
            yield
            if self.next_character() != closing:
                self.take(",")
        self.take(closing)

    def elements(self) -> Iterator[Any]:
        for _ in self.separated("[", "]"):
            yield self.value()

    def value(self) -> Any:
        """The next value; more of the file is read until it is whole."""
        self.next_character()
        wanted = _CHUNK
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
                if end < len(self.text) or self.ended:  # a number at the very end may go on
                    self.position = end
                    return value
            except ValueError as error:  # a JSONDecodeError, or a number of more digits than Python reads
                if self.ended or not isinstance(error, json.JSONDecodeError):
                    raise self.damaged(getattr(error, "msg", str(error))) from error
            self._fill(wanted)
            wanted *= 2

    def damaged(self, what: str) -> PreparationError:
        position = self.before + self.position
        return PreparationError(f"{self.name!r} is damaged at character {position}: {what}; fetch it again")
