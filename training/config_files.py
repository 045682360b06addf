# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads the settings of a run: YAML files in order, each on top of those it extends, and then the command line."""

import argparse
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml

from ..configuration.presets import merge_fields
from .arguments import AdapterArguments, DataArguments, ModelArguments, OptimizationArguments, ReportArguments
from .options import StrictParser, near

CONFIGS = Path(__file__).resolve().parent / "configs"
KINDS: tuple = (ModelArguments, DataArguments, OptimizationArguments, ReportArguments, AdapterArguments)


class Settings(NamedTuple):
    """All settings of a run, validated."""

    model: ModelArguments
    data: DataArguments
    optimization: OptimizationArguments
    report: ReportArguments
    adapters: AdapterArguments = AdapterArguments()

    def as_dict(self) -> dict[str, Any]:
        """Returns every setting by its name."""
        return {name: value for part in self for name, value in asdict(part).items()}


class SettingsParser(StrictParser):
    """
    A parser of every setting and of `--config`; what it returns has only what was given. It takes what transformers'
    `HfArgumentParser` takes, without the import of transformers, which the help of a command should not wait for.

    Args:
        kwargs: Those of `argparse.ArgumentParser`.
    """

    unknown = "there is no setting"

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **kwargs)
        add_settings(self)

    def error(self, message: str):
        """Raises what is wrong as a `ValueError` of one line."""
        raise ValueError(message)


def add_settings(parser: argparse.ArgumentParser):
    """Adds every setting in its group, and `--config`."""
    for kind in KINDS:
        group = parser.add_argument_group(kind._argument_group_name)
        for item in fields(kind):
            _add_setting(group, item)
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        help=f"settings in YAML, by name ({', '.join(config_names())}) or as files; later ones win, and the command "
        f"line wins over all",
    )


def _add_setting(group, item: Field):
    """Adds the option of one setting, with hyphens too, and its opposite where a switch is on by default."""
    names = dict.fromkeys((f"--{item.name}", f"--{item.name.replace('_', '-')}"))
    kinds = [kind for kind in (get_args(item.type) or (item.type,)) if kind is not type(None)]
    how: dict[str, Any] = {"type": kinds[0], "help": item.metadata.get("help")}
    if item.default is MISSING:
        how |= {"type": str, "nargs": "+"}
    elif how["help"] and item.default is not None:
        how["help"] += f" (default: {item.default})".replace("%", "%%")
    if choices := _choices(item):
        how |= {"type": str, "choices": choices}
    elif kinds[0] is bool:
        how |= {"type": _switch, "nargs": "?", "const": True}
    group.add_argument(*names, **how)
    if item.default is True:
        opposite = dict.fromkeys((f"--no_{item.name}", f"--no-{item.name.replace('_', '-')}"))
        group.add_argument(*opposite, dest=item.name, action="store_false", help=how["help"])


def _choices(item: Field) -> tuple[str, ...]:
    """The words that a setting may have, none where it is not limited to some."""
    choice = next((kind for kind in (item.type, *get_args(item.type)) if get_origin(kind) is Literal), None)
    return get_args(choice)


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() in ("true", "yes", "1")


def parse_settings(argv: list[str] | None = None) -> Settings:
    """
    Returns the settings of a run from the words of a command line, those of the process when not given: `--config first
    second`, then every other option.

    Raises:
        ValueError: There is no such configuration or setting, or a value is out of range.
    """
    return make_settings(vars(SettingsParser(description="Trains SSP-SAM.").parse_args(argv)))


def make_settings(given: dict[str, Any]) -> Settings:
    """
    Returns the settings of a run.

    Args:
        given: `config`, the names of configurations, and values of settings, which win; both as `SettingsParser` has
            them. Nothing else counts.
    """
    values: dict = {}
    for name in given.get("config", ()):
        values = merge_fields(values, read_config(find_config(name)))
    names = {item.name for kind in KINDS for item in fields(kind)}
    values |= {name: value for name, value in given.items() if name in names}
    parts = [kind(**{item.name: values[item.name] for item in fields(kind) if item.name in values}) for kind in KINDS]
    settings = Settings(*parts)
    rank, source, objective = settings.adapters.lora_rank, settings.model.init_from, settings.optimization.objective
    if rank and (source is None or objective == "towers"):
        raise ValueError(
            f"lora_rank ({rank}) needs init_from, a model that the adapters are for, and the objective 'referring'; "
            f"got {source!r} and {objective!r}"
        )
    return settings


def config_names() -> list[str]:
    """Returns the names of the configurations that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_config(name: str) -> Path:
    """Returns the file of a configuration, by its path or by its name in the package; raises `ValueError` for none."""
    if Path(name).is_file():
        return Path(name)
    if name in config_names():
        return CONFIGS / f"{name}.yaml"
    like = near(Path(name).stem, config_names()) or f"; by name there are {', '.join(config_names())}"
    raise ValueError(f"there is no configuration {name!r}{like}")


def read_config(path: Path) -> dict:
    """
    Reads a YAML file of settings, on top of the file that its `extends` names (relative to itself), and converts
    numbers to the declared types.

    Raises:
        ValueError: The file is missing, is no mapping, names an unknown setting, or holds a value of the wrong type.
    """
    if not path.is_file():
        raise ValueError(f"there is no configuration file {str(path)!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of settings, got {type(values).__name__}")
    base = values.pop("extends", None)
    known = {item.name: item for kind in KINDS for item in fields(kind)}
    for name in values:
        if name not in known:
            raise ValueError(f"{path} names {name!r}, which is no setting{near(str(name), known)}")
    values = {name: _convert(path, known[name], value) for name, value in values.items()}
    return values if base is None else merge_fields(read_config(path.parent / base), values)


def _convert(path, item, value: Any) -> Any:
    """Turns YAML's `6e-4`, which is a string to it, into a number and refuses words where numbers are due."""
    if value is None:
        if item.default is not None:
            raise ValueError(f"{path}: {item.name} must have a value, got null")
        return None
    if (choices := _choices(item)) and value not in choices:
        raise ValueError(f"{path}: {item.name} must be one of {list(choices)}, got {value!r}")
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
