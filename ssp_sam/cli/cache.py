# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Computes what a model's frozen image encoders say of every image once, for trainings that read it from disk. May be
stopped at any moment and repeated: what is finished is kept.
"""

import argparse

from ..training.options import as_words
from .files import InputError, find_images, told
from .model import add_model_option, find_model

EXAMPLE = "ssp-sam cache --images photo.png --output features"
DEFAULTS = {"dtype": "float16", "batch_size": 1, "workers": 0, "threads": 0}


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    add_model_option(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the cache")
    images = parser.add_argument_group("images; at least one of")
    images.add_argument("--data", nargs="+", default=[], metavar="DIR", help="prepared benchmarks")
    images.add_argument("--images", nargs="+", default=[], metavar="PATH", help="image files or folders of them")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits of --data (default: all)")
    parser.add_argument(
        "--with-patches",
        action="store_true",
        help="also keep the semantic tower's patches, for trainings that leave images in the middle of its canvas",
    )
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), help="of the stored values (default: float16)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in one forward of one process (default: 1)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that prepare images (default: none)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of one process (default: torch's choice)")
    parser.add_argument("--verify", type=int, metavar="N", help="only recompute N random images and compare")
    parser.set_defaults(**DEFAULTS)


def run(options: argparse.Namespace) -> int:
    """Fills or verifies a cache; returns 0."""
    _check(options)
    model, files = find_model(options.model, options.adapter), find_images(options.images)

    import torch

    from ..training.processes import open_accelerator

    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = open_accelerator()
    try:
        with told():
            _work(options, model, files, accelerator)
    finally:
        accelerator.end_training()
    return 0


def _work(options: argparse.Namespace, model: str, files: list[str], accelerator):
    from ..training import cache_images as job

    sources: list = [job.BenchmarkImages(folder, options.splits) for folder in options.data]
    sources += [[(path, path) for path in files]] if files else []
    encoding = job.open_encoding(model, sources, accelerator)
    if options.verify is not None:
        differences = job.verify_images(encoding, options.output, num_images=options.verify)
        parts = ", ".join(f"{name} {difference:.2g}" for name, difference in sorted(differences.items()))
        accelerator.print(f"largest relative difference of recomputed images: {parts}")
        return
    if accelerator.num_processes == 1:
        print(f"on several processes: {launch_line(options)}", flush=True)
    settings = {"with_patches": options.with_patches, "dtype": options.dtype}
    settings |= {"batch_size": options.batch_size, "num_workers": options.workers}
    scan = job.cache_images(encoding, options.output, **settings)
    if scan.unreadable:
        raise ValueError(f"rows without a readable image, which are not in the cache: {len(scan.unreadable)}")


def launch_line(options: argparse.Namespace) -> str:
    """Returns the command that does the same in as many processes as `accelerate config` was told."""
    words = as_words(vars(options), DEFAULTS, left_out=("command", "run"))
    return f"accelerate launch -m ssp_sam.cli.main cache {words}"


def _check(options: argparse.Namespace):
    if not (options.data or options.images):
        raise InputError("give images by --data or --images")
    if options.splits and not options.data:
        raise InputError("--splits are those of --data, which is missing")
    for name, least in (("batch_size", 1), ("verify", 1), ("workers", 0), ("threads", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
