# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Writes weights, configuration, processor, code, pipeline and model card into one folder, which transformers loads with
trust_remote_code=True where ssp-sam is not installed. The folder is then loaded in a process without this package, and
its predictions are compared with those of the model.
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import EMBEDDED_CHECKPOINT
from .files import InputError, told
from .model import add_model_option, find_model, read_config

if TYPE_CHECKING:
    from ..hub.card import ModelFacts
    from ..hub.samples import Sample


EXAMPLE = "ssp-sam export exported"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("folder", metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that holds an earlier export")
    parser.add_argument("--no-check", action="store_true", help="do not load the folder back and compare")
    add_export_options(parser)


def add_export_options(parser: argparse.ArgumentParser):
    """Adds the options that say what is exported."""
    add_model_option(parser)
    parser.add_argument("--merge", action="store_true", help="export the sum of the model and the --adapter")
    parser.add_argument(
        "--facts",
        metavar="FILE",
        help="YAML file with what the model card says about the model (default: facts.yaml in the folder of the model)",
    )
    parser.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="FILE",
        help="evaluation report (JSON) for the model card; may be repeated; without one it says 'not measured'",
    )
    parser.add_argument(
        "--sample",
        action="append",
        nargs="+",
        metavar=("IMAGE", "EXPRESSION"),
        help="an image and what to find in it, for the widget of the model's page; may be repeated (default: "
        "generated scenes for the embedded model, none for others)",
    )
    parser.add_argument(
        "--max-shard-size", type=_size, default="5GB", metavar="SIZE", help="most of one weight file (default: 5GB)"
    )


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[KMGT]I?B", text.upper()):
        raise argparse.ArgumentTypeError(f"expected a size such as 5GB or 800MB, got {text!r}")
    return text


def run(options: argparse.Namespace) -> int:
    """Exports, checks and lists what was written; returns 0."""
    from ..hub.check import check_export
    from ..hub.export import check_target, export_model, file_tree

    folder = Path(options.folder)
    with tempfile.TemporaryDirectory() as scratch, told(*FAULTS):
        check_target(folder, options.overwrite)
        arguments = export_arguments(options, Path(scratch))
        export_model(folder=folder, overwrite=options.overwrite, **arguments)
        print(file_tree(folder))
        if not options.no_check:
            print(check_export(folder, arguments["source"], arguments["samples"]))
    return 0


def export_arguments(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """
    Returns what the options of `add_export_options` say, as arguments of `export_model`; generated samples go into a
    scratch folder. Raises one of `FAULTS`, or `InputError`, where a file or the model cannot be used.
    """
    from transformers.utils import logging

    from ..hub.results import read_report

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.adapter is not None and not options.merge:
        raise InputError(f"an exported repository holds whole weights; add --merge to those of {options.adapter!r}")
    for option, path in [("--facts", options.facts), *(("--report", path) for path in options.report)]:
        if path is not None and not Path(path).is_file():
            raise InputError(f"no file at {option} {path!r}")
    source = find_model(options.model, options.adapter)
    arguments = {
        "source": source,
        "samples": _samples(options.sample, source, scratch),
        "evaluations": [read_report(path) for path in options.report],
        "facts": _facts(options.facts, source),
        "max_shard_size": options.max_shard_size,
    }
    read_config(source)
    return arguments


# What may go wrong with files and models that a user named.
FAULTS = (OSError, ValueError, TypeError, KeyError, RuntimeError)


def _samples(given: list[list[str]] | None, source: str, scratch: Path) -> "list[Sample]":
    from ..hub.samples import Sample, scene_samples

    if given is None:
        return scene_samples(scratch) if source == str(EMBEDDED_CHECKPOINT) else []
    samples = []
    for image, *expressions in given:
        if not Path(image).is_file():
            raise InputError(f"no image file at --sample {image!r}")
        if not expressions or not all(expression.strip() for expression in expressions):
            raise InputError(f"--sample needs an image and expressions, got {[image, *expressions]!r}")
        samples.append(Sample(Path(image), tuple(expressions)))
    names = [sample.image.name for sample in samples]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two samples are called {name!r}; they would be one file in the repository")
    return samples


def _facts(path: str | None, source: str) -> "ModelFacts":
    from ..hub.card import FACTS_FILE, ModelFacts, read_facts

    if path is None and (Path(source) / FACTS_FILE).is_file():
        path = str(Path(source) / FACTS_FILE)
    return ModelFacts() if path is None else read_facts(path)
