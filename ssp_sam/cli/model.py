# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model that a subcommand of `ssp-sam` works with."""

import argparse
import atexit
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .. import EMBEDDED_CHECKPOINT
from .files import InputError, one_line, told

if TYPE_CHECKING:
    from ..configuration.configuration_ssp_sam import SspSamConfig
    from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline

MODEL_HELP = "Hub id, owner/name:FILE, folder or .pth of a model (default: the embedded one)"
ADAPTER_HELP = "low-rank adapters by peft to add to the model; without --model, to the one they were trained for"
DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_model_options(parser: argparse.ArgumentParser):
    """Adds `--model`, `--adapter`, `--device`, `--dtype` and `--compile`."""
    add_model_option(parser)
    parser.add_argument("--device", metavar="NAME", help="such as cpu, cuda or cuda:1 (default: an accelerator if any)")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="precision to compute in")
    parser.add_argument("--compile", action="store_true", help="compile the model: slow at first, then faster")


def add_model_option(parser: argparse.ArgumentParser):
    """Adds `--model` and `--adapter`."""
    parser.add_argument("--model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--adapter", metavar="DIR", help=ADAPTER_HELP)


def find_model(model: str | None, adapter: str | None = None) -> str:
    """
    Returns the folder or Hub id of a model, the embedded one where none is named; pulls it where that is needed.

    With an adapter it is a temporary folder, removed at the end, with the adapter's sum with the model; so it is where
    an adapter is named in place of a model.

    Raises:
        InputError: If there is no such model or adapter, or several are meant.
    """
    if adapter is not None:
        return _merged(model, adapter)
    if model is None:
        if not EMBEDDED_CHECKPOINT.is_dir():
            missing = str(EMBEDDED_CHECKPOINT)
            raise InputError(f"the embedded checkpoint is missing at {missing!r}; reinstall ssp-sam or pass --model")
        return str(EMBEDDED_CHECKPOINT)
    from ..modeling_ssp_sam.conversion.checkpoint_sources import SeveralError
    from ..modeling_ssp_sam.conversion.pull import resolve_model
    from ..training.adapters import ADAPTER_CONFIG

    if Path(model, ADAPTER_CONFIG).is_file() and not Path(model, "config.json").is_file():
        return _merged(None, model)
    with told(ValueError, about=f"--model {model} cannot be used: "):
        try:
            return resolve_model(model, say=lambda line: print(f"ssp-sam: {line}", file=sys.stderr))
        except SeveralError as error:
            reason = one_line(error)
            raise InputError(f"--model {model} is not one model: {reason}; see ssp-sam pull {model}") from error


def _merged(model: str | None, adapter: str) -> str:
    """Writes the sum of a model and an adapter into a temporary folder."""
    from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
    from ..processing.processing_ssp_sam import SspSamProcessor
    from ..training.adapters import ADAPTER_CONFIG, find_base, merge_adapter

    with told(OSError, ValueError, KeyError, ImportError, about=f"cannot use the adapter {adapter!r}: "):
        base = find_base(adapter)
        if base is None:
            raise InputError(f"expected the folder of an adapter (with {ADAPTER_CONFIG}) at {adapter!r}")
        source = find_model(base if model is None else model)
        folder = tempfile.TemporaryDirectory(prefix="ssp-sam-")
        atexit.register(folder.cleanup)
        whole = merge_adapter(SspSamModel.from_pretrained(source, dtype="auto"), adapter)
        whole.save_pretrained(folder.name)
        SspSamProcessor.from_pretrained(source).save_pretrained(folder.name)
    return folder.name


def read_config(model: str) -> "SspSamConfig":
    """
    Returns the configuration of a model, running no code that a repository brings; raises `InputError` where it cannot
    be read, or is that of another kind of model.
    """
    from transformers import AutoConfig

    from ..configuration.configuration_ssp_sam import SspSamConfig

    with told(OSError, ValueError, TypeError, KeyError, about=f"cannot load {model!r}: "):
        try:
            config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        except ValueError as error:
            if "trust_remote_code" in str(error):
                raise InputError(f"{model!r} is another kind of model, which brings code of its own to run") from error
            raise
    if not isinstance(config, SspSamConfig):
        raise InputError(f"expected a model of type 'ssp_sam' at {model!r}, got type {config.model_type!r}")
    return config


def load_pipeline(options: argparse.Namespace) -> "ReferringSegmentationPipeline":
    """
    Loads the pipeline that the options of `add_model_options` ask for; raises `InputError` for no such model or device.
    """
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    from ..modeling_ssp_sam.embedded_model import EmbeddedModelWarning
    from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
    from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
    from ..processing.processing_ssp_sam import SspSamProcessor

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore", EmbeddedModelWarning)  # told in a line of the command's own
    model = find_model(options.model, options.adapter)
    if options.device is not None:
        try:
            torch.zeros(1, device=options.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"cannot use the device {options.device!r} ({one_line(error)}); try cpu") from error
    config = read_config(model)
    kinds = OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError
    with told(*kinds, about=f"cannot load {model!r}: "):
        weights = SspSamModel.from_pretrained(model, config=config, dtype=options.dtype)
    with told(*kinds, about=f"cannot load the processor of {model!r} (processor_config.json, tokenizer.json): "):
        processor = SspSamProcessor.from_pretrained(model)
    with told(*kinds, about=f"cannot use {model!r}: "):
        return pipeline(  # pyright: ignore[reportCallIssue]
            "referring-segmentation",  # pyright: ignore[reportArgumentType]
            model=weights,
            processor=processor,
            device=options.device,
            compile=options.compile,
            pipeline_class=ReferringSegmentationPipeline,
        )
