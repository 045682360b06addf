# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Writes image encoder and mask decoder as ONNX graphs, with the processor and a script that segments by ONNX Runtime
without torch.
"""

import argparse

from .files import told
from .model import add_model_option, load_pipeline

EXAMPLE = "ssp-sam export-onnx onnx"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("folder", metavar="DIR", help="folder to write into")
    add_model_option(parser)
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="precision of the graphs; float16 for GPUs"
    )


def run(options: argparse.Namespace) -> int:
    """Exports the model and prints what was written; returns 0."""
    import torch

    from ..deployment.onnx_export import COMPONENTS, RUNTIME, export_onnx

    segmenter = load_pipeline(
        argparse.Namespace(model=options.model, adapter=options.adapter, device="cpu", dtype="float32", compile=False)
    )
    with told(ValueError, ImportError, OSError):
        folder = export_onnx(segmenter.model, segmenter.processor, options.folder, getattr(torch, options.dtype))
    for component in COMPONENTS:
        size = sum(path.stat().st_size for path in folder.glob(f"{component}.onnx*"))
        print(f"{folder / component}.onnx: {size / 1e6:.1f} MB with its weights")
    print(f'Try: python {folder / RUNTIME.name} photo.jpg "the red car" --output overlay.png')
    return 0
