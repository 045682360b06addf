# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam export`: writes a model as a repository for the Hub."""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from transformers.utils import logging

from .. import EMBEDDED_CHECKPOINT
from ..hub.card import ModelFacts, read_facts
from ..hub.check import check_export
from ..hub.export import PACKAGE, check_target, export_model
from ..hub.results import read_report
from ..hub.samples import Sample, scene_samples
from .files import InputError, one_line
from .model import find_model, read_config

EMBEDDED_FACTS = PACKAGE / "hub" / "embedded_model_facts.yaml"


def add_parser(commands):
    """Adds the subcommand to those of `ssp-sam`."""
    export = commands.add_parser(
        "export",
        description="Writes weights, configuration, processor, code, pipeline and model card into one folder, which "
        "transformers loads with trust_remote_code=True where ssp-sam is not installed. The folder is then loaded in a "
        "process without this package, and its answers are compared with those of the model.",
        example="ssp-sam export exported",
    )
    export.add_argument("folder", metavar="DIR", help="folder to write")
    export.add_argument("--overwrite", action="store_true", help="replace a folder that holds an earlier export")
    export.add_argument("--no-check", action="store_true", help="do not load the folder back and compare")
    add_export_options(export)
    export.set_defaults(run=run)


def add_export_options(parser: argparse.ArgumentParser):
    """Adds the options that say what is exported."""
    parser.add_argument("--model", metavar="ID_OR_DIR", help="Hub id or folder of a model (default: the embedded one)")
    parser.add_argument("--facts", metavar="FILE", help="YAML file with what the model card says about the model")
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
        help="a picture and what to find in it, for the widget of the model's page; may be repeated (default: "
        "generated scenes for the embedded model, none for others)",
    )
    parser.add_argument(
        "--max-shard-size", default="5GB", metavar="SIZE", help="most of one weight file (default: 5GB)"
    )


def run(options: argparse.Namespace) -> int:
    """Exports, checks and lists what was written; returns 0."""
    source = find_model(options.model)
    samples = export_from_options(options, Path(options.folder), overwrite=options.overwrite)
    print(file_tree(Path(options.folder)))
    if not options.no_check:
        print(check_from_options(Path(options.folder), source, samples))
    return 0


def export_from_options(
    options: argparse.Namespace, folder: Path, *, overwrite: bool = False, repo_id: str | None = None
) -> list[Sample]:
    """
    Exports what the options of `add_export_options` ask for, and returns the samples as they lie in the export.

    Raises:
        InputError: If a file or the model cannot be used, or the folder holds something else.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            check_target(folder, overwrite)
            source = find_model(options.model)
            samples = _samples(options.sample, source, Path(scratch))
            reports = [read_report(path) for path in options.report]
            facts = _facts(options.facts, source)
            if repo_id is not None:
                facts = dataclasses.replace(facts, repo_id=repo_id)
            read_config(source)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(one_line(error)) from error
        try:
            export_model(
                source,
                folder,
                facts=facts,
                samples=samples,
                evaluations=reports,
                max_shard_size=options.max_shard_size,
                overwrite=overwrite,
            )
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise InputError(f"cannot export {source!r}: {one_line(error)}") from error
    return [dataclasses.replace(sample, image=folder / sample.path) for sample in samples]


def check_from_options(folder: Path, source: str, samples: list[Sample]) -> str:
    """
    Loads an export back without this package, and returns what was found in one line.

    Raises:
        InputError: If it cannot be loaded or answers differently.
    """
    try:
        compared = check_export(folder, source, samples)
    except ValueError as error:
        raise InputError(one_line(error)) from error
    return f"loaded without ssp-sam: answers to {compared} expressions equal those of the model"


def file_tree(folder: Path) -> str:
    """The files of a folder with their sizes, one per line, and their sum."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    lines = [f"{_size(size):>9}  {path.relative_to(folder).as_posix()}" for path, size in zip(files, sizes)]
    return "\n".join([*lines, f"{_size(sum(sizes)):>9}  in {len(files)} files"])


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _samples(given: list[list[str]] | None, source: str, scratch: Path) -> list[Sample]:
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


def _facts(path: str | None, source: str) -> ModelFacts:
    if path is not None:
        return read_facts(path)
    return read_facts(EMBEDDED_FACTS) if source == str(EMBEDDED_CHECKPOINT) else ModelFacts()
