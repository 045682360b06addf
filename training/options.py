# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings that are described once: fields of dataclasses that carry what a command line says of them."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields
from typing import Any, get_args


def option(default: Any, help: str, **details: Any) -> Any:
    """Makes a field of a dataclass from its default, its help text, and what else `argparse` is to know of it."""
    metadata = {"help": help, **details}
    if isinstance(default, list | dict):
        return field(default_factory=type(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def add_options(parser: Any, kind: type, names: Iterable[str] | None = None):
    """
    Adds the fields of a dataclass as options, with hyphens in place of underscores.

    A switch that is on by default becomes its opposite, `--no-…`; the defaults of numbers and names end their help.

    Args:
        parser: A parser, or a group of one.
        kind: The dataclass; its fields are made by `option`.
        names: Fields that are wanted; all that `option` made when not given.
    """
    for item in fields(kind):
        if not item.metadata or names is not None and item.name not in names:
            continue
        name, details = item.name.replace("_", "-"), dict(item.metadata)
        default = item.default if item.default_factory is MISSING else []
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


def as_words(options: Mapping[str, Any], defaults: Mapping[str, Any], left_out: Iterable[str] = ()) -> str:
    """Returns options as the words of a command line, without those that have their defaults."""
    words = []
    for name, value in options.items():
        if name in left_out or value == defaults.get(name):
            continue
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else map(str, value) if isinstance(value, list) else [str(value)]
    return shlex.join(words)


__all__ = ["add_options", "as_words", "option"]
