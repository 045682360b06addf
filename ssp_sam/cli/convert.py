# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Converts a checkpoint of the original SSP-SAM. Sizes are read off the tensors. Parts that the checkpoint leaves out come
from the files that its training started with.
"""

import argparse

from .files import told

DTYPES = ("float32", "float16", "bfloat16")
EXAMPLE = "ssp-sam convert --checkpoint best.pth --tokenizer clip-tokenizer --output ssp-sam-b16"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    from ..configuration.presets import ABLATIONS

    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="the original's checkpoint")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--clip", metavar="FILE", help="OpenAI's CLIP file, for checkpoints without the encoder")
    parser.add_argument(
        "--clip-model",
        metavar="ID_OR_DIR",
        help="a CLIPModel, or for siglip2 a SiglipModel, on the Hub or in a folder: its tokenizer, and the encoder "
        "if needed",
    )
    sam = parser.add_mutually_exclusive_group()
    sam.add_argument("--sam", metavar="FILE", help="Meta's SAM file, for checkpoints without SAM's image encoder")
    sam.add_argument("--sam-model", metavar="ID_OR_DIR", help="a SamModel on the Hub or in a folder, for the same")
    parser.add_argument("--allow-other-sam", action="store_true", help="take a SAM other than the paper's ViT-H")
    parser.add_argument("--tokenizer", metavar="ID_OR_DIR", help="the tokenizer (default: that of --clip-model)")
    parser.add_argument(
        "--variant", default="paper", choices=["paper", *ABLATIONS], help="row of the ablation (default: paper)"
    )
    parser.add_argument(
        "--num-heads", type=int, metavar="N", help="heads of adapters, prompt generator and mask decoder (default: 8)"
    )
    parser.add_argument(
        "--dtype", default="float32", choices=DTYPES, help="precision of the written weights (default: float32)"
    )
    parser.add_argument("--max-shard-size", default="500MB", metavar="SIZE", help="most of one file (default: 500MB)")


def run(options: argparse.Namespace) -> int:
    """Converts the checkpoint and prints what was read, dropped and written; returns 0."""
    from transformers.utils import logging

    from ..modeling_ssp_sam.conversion.convert import convert

    logging.disable_progress_bar()  # what is refused is told in one line
    arguments = {name: value for name, value in vars(options).items() if name not in ("command", "run")}
    with told():
        convert(**arguments, say=print)
    return 0
