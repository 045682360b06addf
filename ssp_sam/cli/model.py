# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model that a subcommand of `ssp-sam` works with."""

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from .. import EMBEDDED_CHECKPOINT
from .files import InputError, one_line

if TYPE_CHECKING:
    from ..configuration.configuration_ssp_sam import SspSamConfig
    from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline

MODEL_HELP = "Hub id, owner/name:FILE, folder or .pth of a model (default: the embedded one)"
DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_model_options(parser: argparse.ArgumentParser):
    """Adds `--model`, `--device`, `--dtype` and `--compile`."""
    parser.add_argument("--model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--device", metavar="NAME", help="such as cpu, cuda or cuda:1 (default: an accelerator if any)")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="precision to compute in")
    parser.add_argument("--compile", action="store_true", help="compile the model: slow at first, then faster")


def find_model(model: str | None) -> str:
    """
    Returns the folder or Hub id of a model, the embedded one where none is named; pulls it where that is needed.

    Raises:
        InputError: If there is no such model, or several are meant.
    """
    if model is None:
        if not EMBEDDED_CHECKPOINT.is_dir():
            missing = str(EMBEDDED_CHECKPOINT)
            raise InputError(f"the embedded checkpoint is missing at {missing!r}; reinstall ssp-sam or pass --model")
        return str(EMBEDDED_CHECKPOINT)
    from ..modeling_ssp_sam.conversion.checkpoint_sources import SeveralError
    from ..modeling_ssp_sam.conversion.pull import resolve_model

    try:
        return resolve_model(model, say=lambda line: print(f"ssp-sam: {line}", file=sys.stderr))
    except SeveralError as error:
        raise InputError(f"--model {model} is not one model: {one_line(error)}; see ssp-sam pull {model}") from error
    except ValueError as error:
        raise InputError(f"--model {model} cannot be used: {one_line(error)}") from error


def read_config(model: str) -> "SspSamConfig":
    """
    Returns the configuration of a model, running no code that a repository brings.

    Raises:
        InputError: If it cannot be read, or is that of another kind of model.
    """
    from transformers import AutoConfig

    from ..configuration.configuration_ssp_sam import SspSamConfig

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise InputError(f"{model!r} is another kind of model, which brings code of its own to run") from error
        raise InputError(f"cannot load {model!r}: {one_line(error)}") from error
    if not isinstance(config, SspSamConfig):
        raise InputError(f"expected a model of type 'ssp_sam' at {model!r}, got type {config.model_type!r}")
    return config


def load_pipeline(options: argparse.Namespace) -> "ReferringSegmentationPipeline":
    """
    Loads the pipeline that the options of `add_model_options` ask for.

    Raises:
        InputError: If there is no such model or device.
    """
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from ..modeling_ssp_sam.embedded_model import EmbeddedModelWarning
    from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", EmbeddedModelWarning)  # told in a line of the command's own
    model = find_model(options.model)
    if options.device is not None:
        try:
            torch.zeros(1, device=options.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"cannot use the device {options.device!r} ({one_line(error)}); try cpu") from error
    config = read_config(model)
    try:
        return pipeline(  # pyright: ignore[reportCallIssue]
            "referring-segmentation",  # pyright: ignore[reportArgumentType]
            model=model,
            config=config,
            trust_remote_code=False,  # no question to whoever runs the command, and no code but the installed one
            device=options.device,
            dtype=options.dtype,
            compile=options.compile,
            pipeline_class=ReferringSegmentationPipeline,
        )
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError) as error:
        raise InputError(f"cannot load {model!r}: {one_line(error)}") from error
