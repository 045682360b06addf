# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings that are described once: fields of dataclasses that carry what a command line says of them."""

import argparse
import difflib
import shlex
from collections.abc import Container, Iterable, Mapping
from dataclasses import MISSING, field, fields
from typing import Any, get_args


def option(default: Any, help: str, **details: Any) -> Any:
    """
    Makes a field of a dataclass from its default, its help text, and what else is to be known of it.

    Args:
        details: `least`, the lowest value, or `above`, a number that it exceeds, as `check_limits` has it; and what
            `argparse` is told beside the help.
    """
    metadata = {"help": help, **details}
    if isinstance(default, list | dict):
        return field(default_factory=type(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check_limits(settings: Any, fault: type[Exception] = ValueError):
    """Raises a fault for a number that is below its field's `least` or not above its `above`."""
    for item in fields(settings):
        value, limits = getattr(settings, item.name), item.metadata
        if value is not None and "least" in limits and not value >= limits["least"]:
            raise fault(f"{item.name} must be at least {limits['least']}, got {value}")
        if value is not None and "above" in limits and not value > limits["above"]:
            raise fault(f"{item.name} must be above {limits['above']}, got {value}")


def add_options(parser: Any, kind: type, names: Container[str] | None = None, left_out: Container[str] = ()):
    """
    Adds the fields of a dataclass as options, with hyphens in place of underscores: those of these names, or all that
    `option` made, but for some.

    A switch that is on by default becomes its opposite, `--no-…`; the defaults of numbers and names end their help.
    """
    for item in fields(kind):
        if not item.metadata or item.name in left_out or names is not None and item.name not in names:
            continue
        details = {name: value for name, value in item.metadata.items() if name not in ("least", "above")}
        name, default = item.name.replace("_", "-"), item.default if item.default_factory is MISSING else []
        if item.type is bool:
            flag, action = (f"--no-{name}", "store_false") if default else (f"--{name}", "store_true")
            parser.add_argument(flag, dest=item.name, action=action, **details)
            continue
        number = next((kind for kind in (get_args(item.type) or (item.type,)) if kind in (int, float)), None)
        if number is not None:
            details = {"type": number, "metavar": "N", **details}
        if default not in (None, []):
            details["help"] += " (default: %(default)s)"
        parser.add_argument(f"--{name}", default=default, **details)


class StrictParser(argparse.ArgumentParser):
    """A parser for which an option that it does not know is an error that names those like it."""

    unknown = "unrecognized argument"  # as the error calls it

    def parse_known_args(self, args=None, namespace=None):
        """Parses all words, as `parse_args` does."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = {option for action in self._actions for option in action.option_strings}
            name = unknown[0].partition("=")[0]
            self.error(f"{self.unknown} {name}{near(name, known)}")
        return namespace, unknown


def near(name: str, known: Iterable[str]) -> str:
    """Returns the end of a sentence about an unknown name: those that are like it, if any."""
    like = difflib.get_close_matches(name, known, n=2, cutoff=0.75)
    return f"; did you mean {' or '.join(like)}?" if like else ""


def as_words(options: Mapping[str, Any], defaults: Mapping[str, Any], left_out: Container[str] = ()) -> str:
    """Returns options as the words of a command line, without those that were not given or have their defaults."""
    words = []
    for name, value in options.items():
        given = value is not None and value is not False and value != [] and value != defaults.get(name)
        if given and name not in left_out:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def defaults_of(kind: type) -> dict[str, Any]:
    """Returns the defaults of a dataclass by the names of its fields."""
    return {item.name: item.default for item in fields(kind)}


__all__ = ["StrictParser", "add_options", "as_words", "check_limits", "defaults_of", "near", "option"]
