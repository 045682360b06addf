# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Fetches a model and makes it ready for --model: a checkpoint of the original, such as those in wayneicloud/SSP-SAM, is
downloaded, completed by the towers that it leaves out, and converted once. What was pulled is used without a network
from then on.
"""

import argparse
import sys
from collections.abc import Sequence

from .files import InputError, told

DTYPES = ("float16", "float32", "bfloat16")
EXAMPLE = "ssp-sam pull wayneicloud/SSP-SAM --file grefcoco"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    from ..configuration.presets import ABLATIONS

    parser.add_argument(
        "source",
        nargs="?",
        metavar="MODEL",
        help="owner/name or owner/name:FILE on the Hub, an address of the Hub, a .pth file, or a folder",
    )
    parser.add_argument("--file", metavar="NAME", help="which checkpoint: its path, or a part of it that fits one")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of the repository")
    parser.add_argument(
        "--dtype", default="float16", choices=DTYPES, help="precision of the weights (default: float16)"
    )
    parser.add_argument(
        "--variant", default="paper", choices=["paper", *ABLATIONS], help="row of the ablation (default: paper)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what was pulled")
    what.add_argument("--remove", action="store_true", help="delete what was pulled of MODEL, its download included")


def run(options: argparse.Namespace) -> int:
    """Pulls, lists or removes; returns 0."""
    if options.list:
        return _list()
    if options.source is None:
        raise InputError("expected a model, such as wayneicloud/SSP-SAM; ssp-sam pull --list shows what was pulled")
    return _remove(options) if options.remove else _pull(options)


def _pull(options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from ..modeling_ssp_sam.conversion.checkpoint_sources import SeveralError, size_text
    from ..modeling_ssp_sam.conversion.pull import pull_model

    logging.set_verbosity_error()
    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    how = {"revision": options.revision, "dtype": options.dtype, "variant": options.variant}
    with told(ValueError):
        try:
            model = pull_model(options.source, options.file, **how, ask=ask, say=print)
        except SeveralError as error:
            print("\n".join(f"  {checkpoint}" for checkpoint in error.checkpoints))
            raise InputError(f"{len(error.checkpoints)} checkpoints to choose from; name one by --file") from error
    name = str(model.folder)
    if model.origin is not None and model.commit is not None:
        name = f"{model.origin.source}:{model.origin.file}"
    elif model.commit is not None:
        name = options.source
    found = "ready" if model.is_new else "there already" if model.origin is not None else "needs no conversion"
    dtype = f", {model.origin.dtype}" if model.origin is not None else ""
    print(f"{found}: {model.folder} ({size_text(model.size)}{dtype})")
    print(f'Try: ssp-sam segment photo.jpg "the dog on the left" --model {name}')
    return 0


def _ask(checkpoints: Sequence) -> object:
    """Lets the user choose by number."""
    for number, checkpoint in enumerate(checkpoints, start=1):
        print(f"{number:>3}  {checkpoint}", file=sys.stderr)
    while True:
        print(f"Which one? 1 to {len(checkpoints)}: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise InputError("no checkpoint was chosen")
        if answer.strip().isdecimal() and 1 <= int(answer) <= len(checkpoints):
            return checkpoints[int(answer) - 1]


def _list() -> int:
    from ..modeling_ssp_sam.conversion.checkpoint_sources import size_text
    from ..modeling_ssp_sam.conversion.pulled_models import models_folder, pulled_models

    models = pulled_models()
    for model in models:
        origin = model.origin
        name = origin.source if model.commit is None else f"{origin.source}:{origin.file}, commit {model.commit[:7]}"
        variant = "" if origin.variant == "paper" else f", {origin.variant}"
        print(f"{name}\n  {origin.dtype}{variant}, {size_text(model.size)} in {model.folder}")
    if not models:
        print(f"nothing was pulled into {models_folder()}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from ..modeling_ssp_sam.conversion.checkpoint_sources import size_text
    from ..modeling_ssp_sam.conversion.pull import pulled_from
    from ..modeling_ssp_sam.conversion.pulled_models import remove_model

    with told(ValueError):
        models = pulled_from(options.source, options.file)
    if not models:
        raise InputError(f"nothing was pulled of {options.source!r}; ssp-sam pull --list shows what was")
    for model in models:
        with told(OSError, about=f"cannot remove {str(model.folder)!r}: "):
            freed = remove_model(model)
        print(f"removed {model.folder}: {size_text(freed)}")
    return 0
