# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains a model on a prepared benchmark, on a custom dataset, or on generated scenes, in this one process. Each setting
stands in a configuration or on the command line, where it wins.
"""

import argparse
import os
import shlex
from pathlib import Path

from .files import told

EXAMPLE = "ssp-sam train --config own_data --train_dir my_images --num_epochs 1"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    from ..training.config_files import add_settings

    parser.usage = "ssp-sam train [--config NAME ...] [--SETTING VALUE ...]"
    parser.allow_abbrev, parser.argument_default = False, argparse.SUPPRESS
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Trains; returns 0."""
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as a launched training does: it repeats itself bit for bit
    from transformers.utils import logging

    from ..training.config_files import make_settings
    from ..training.options import as_words
    from ..training.train import train

    logging.disable_progress_bar()  # of loading weights; that of the training stays
    given = {name: value for name, value in vars(options).items() if name not in ("command", "run")}
    with told(ValueError, OSError, FloatingPointError):
        settings = make_settings(given)
        written = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        print(f"the same in several processes: accelerate launch -m ssp_sam.training.train {as_words(written, {})}")
        train(settings, publish_with_push)
    return 0


def publish_with_push(model: Path, report):
    """
    Publishes a finished model's folder as `ssp-sam push` does, in the repository that the run's `ReportArguments` name;
    raises `ValueError` where it was not published, which is explained on standard error.
    """
    from .main import main

    words = ["push", "--repo-id", report.hub_model_id, "--model", str(model), *["--private"] * report.hub_private]
    if main(words) != 0:
        raise ValueError(f"the finished model was not published; to try again: ssp-sam {shlex.join(words)}")
