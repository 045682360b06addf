# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Prints versions, devices and the model that would be used, to go with a report of a fault. Nothing is sent anywhere.
"""

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import EMBEDDED_CHECKPOINT, __version__
from .model import add_model_option, find_model, read_config

# What ssp-sam needs, and what its extras add.
LIBRARIES = ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "datasets", "evaluate", "numpy")
OPTIONAL = ("pillow", "pycocotools", "gradio", "onnx", "onnxruntime", "peft", "tensorboard")


EXAMPLE = "ssp-sam info"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    add_model_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints what there is; returns 0."""
    facts = {
        "ssp-sam": f"{__version__} in {Path(__file__).resolve().parents[1]}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in (*LIBRARIES, *OPTIONAL)},
        "devices": ", ".join(_devices()),
        **_model(find_model(options.model, options.adapter)),
    }
    if options.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        width = max(map(len, facts))
        print("\n".join(f"{name:{width}}  {value}" for name, value in facts.items()))
    return 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    """The devices that `--device` takes, with what they are."""
    import torch

    found = [f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]
    found += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _model(source: str) -> dict[str, str]:
    """What a model's configuration tells, without its weights."""
    config = read_config(source)
    name = "the embedded checkpoint" if source == str(EMBEDDED_CHECKPOINT) else source
    return {"model": f"{name}, of type {config.model_type}, dtype {config.dtype}"}
