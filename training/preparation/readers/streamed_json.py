# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads large JSON files element by element, so that memory holds one element and not the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

_CHUNK = 1 << 20  # characters


def stream_items(path: str | Path) -> Iterator[tuple[str | None, Any]]:
    """
    Yields the elements of a file that is one JSON list, or one JSON object with lists in it.

    Args:
        path: The file, in UTF-8.

    Yields:
        (key, element): for a list, `None` and each element. For an object, each key with each element of its list, or
        with its value where that is no list.

    Raises:
        ValueError: The file cannot be read, is neither, or is damaged; says where.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            yield from _top_level(_Text(stream, str(path)))
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not in UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"{str(path)!r} is damaged: its lists are nested without end") from error


def _top_level(text: "_Text") -> Iterator[tuple[str | None, Any]]:
    opening = text.next_character()
    if opening == "[":
        for element in _elements(text):
            yield None, element
    elif opening == "{":
        text.take("{")
        while text.next_character() != "}":
            key = text.value()
            if not isinstance(key, str):
                raise text.damaged(f"expected a name, got {key!r}")
            text.take(":")
            if text.next_character() == "[":
                for element in _elements(text):
                    yield key, element
            else:
                yield key, text.value()
            if text.next_character() != "}":
                text.take(",")
        text.take("}")
    else:
        raise text.damaged(f"expected a list or an object, got {opening!r}")
    if text.next_character():
        raise text.damaged(f"expected the end of the file, got {text.next_character()!r}")


def _elements(text: "_Text") -> Iterator[Any]:
    text.take("[")
    while text.next_character() != "]":
        yield text.value()
        if text.next_character() != "]":
            text.take(",")
    text.take("]")


class _Text:
    """The part of a file around the place that is being read."""

    def __init__(self, stream: TextIO, name: str):
        self.stream, self.name = stream, name
        self.text, self.place, self.before, self.ended = "", 0, 0, False
        self.decoder = json.JSONDecoder()

    def _fill(self, characters: int = _CHUNK):
        chunk = self.stream.read(characters)
        self.before += self.place
        self.text, self.place, self.ended = self.text[self.place :] + chunk, 0, not chunk

    def next_character(self) -> str:
        """The next character that is no white space, not taken yet; "" at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in " \t\n\r":
                self.place += 1
            if self.place < len(self.text) or self.ended:
                return self.text[self.place : self.place + 1]
            self._fill()

    def take(self, character: str):
        found = self.next_character()
        if found != character:
            raise self.damaged(f"expected {character!r}, got {found!r}")
        self.place += 1

    def value(self) -> Any:
        """The next value; more of the file is read until it is whole."""
        self.next_character()
        wanted = _CHUNK
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.place)
                if end < len(self.text) or self.ended:  # a number at the very end may go on
                    self.place = end
                    return value
            except json.JSONDecodeError as error:
                if self.ended:
                    raise self.damaged(error.msg) from error
            self._fill(wanted)
            wanted *= 2

    def damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.name!r} is damaged at character {self.before + self.place}: {what}; fetch it again")
