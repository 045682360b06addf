# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads the settings of a run: YAML files in order, each on top of those it extends, and then the command line."""

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml
from transformers import HfArgumentParser

from .arguments import DataArguments, ModelArguments, OptimizationArguments, ReportArguments


class Settings(NamedTuple):
    """All settings of a run, validated."""

    model: ModelArguments
    data: DataArguments
    optimization: OptimizationArguments
    report: ReportArguments

    def as_dict(self) -> dict[str, Any]:
        """Returns every setting by its name."""
        return {name: value for part in self for name, value in asdict(part).items()}


KINDS: tuple = (ModelArguments, DataArguments, OptimizationArguments, ReportArguments)


def parse_settings(argv: list[str] | None = None) -> Settings:
    """
    Reads the settings of a run: `--config first.yaml second.yaml`, then every other option on the command line.

    Args:
        argv: Command-line words without the program's name; those of the process when not given.

    Returns:
        The settings.

    Raises:
        ValueError: A YAML file has a key that is no setting, or a value is out of range.
    """
    parser = HfArgumentParser(list(KINDS), description="Trains SSP-SAM.", allow_abbrev=False)
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        help="YAML files of settings, later ones win; the command line wins over all.",
    )
    values: dict = {}
    for path in parser.parse_known_args(argv)[0].config:
        values = merge(values, read_config(path))
    parser.set_defaults(**values)
    namespace = vars(parser.parse_args(argv))

    def build(kind) -> Any:
        return kind(**{item.name: namespace[item.name] for item in fields(kind)})

    return Settings(*(build(kind) for kind in KINDS))


def read_config(path: str | Path) -> dict:
    """
    Reads a YAML file of settings, on top of the file that its `extends` names (relative to itself), and converts
    numbers to the declared types.

    Raises:
        ValueError: The file is missing, is no mapping, names an unknown setting, or holds a value of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no configuration file {str(path)!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of settings, got {type(values).__name__}")
    base = values.pop("extends", None)
    known = {item.name: item for kind in KINDS for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{path} names unknown settings {unknown}; known are {sorted(known)}")
    values = {name: _convert(path, known[name], value) for name, value in values.items()}
    return values if base is None else merge(read_config(path.parent / base), values)


def merge(values: dict, changes: dict) -> dict:
    """Returns settings with some replaced; where both have a mapping, its entries are replaced one by one."""
    merged = dict(values)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def _convert(path, item, value: Any) -> Any:
    """Turns YAML's `6e-4`, which is a string to it, into a number and refuses words where numbers are due."""
    if value is None:
        if item.default is not None:
            raise ValueError(f"{path}: {item.name} must have a value, got null")
        return None
    choice = next((kind for kind in (item.type, *get_args(item.type)) if get_origin(kind) is Literal), None)
    if choice is not None and value not in get_args(choice):
        raise ValueError(f"{path}: {item.name} must be one of {list(get_args(choice))}, got {value!r}")
    if item.default is MISSING:
        if not isinstance(value, list):
            raise ValueError(f"{path}: {item.name} must be a list, got {value!r}")
        return value
    wanted: Any = next((kind for kind in (get_args(item.type) or (item.type,)) if kind in (bool, int, float)), None)
    if wanted is bool and not isinstance(value, bool) or wanted is int and isinstance(value, bool | float):
        raise ValueError(f"{path}: {item.name} must be of type {wanted.__name__}, got {value!r}")
    if wanted in (int, float):
        number: Any = value
        try:
            return wanted(number)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {item.name} must be a number, got {value!r}") from error
    return value
