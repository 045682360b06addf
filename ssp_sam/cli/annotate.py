# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Labels a collection of images: parquet of masks, boxes and scores, which is a prepared dataset. Repeated after it was
stopped, it goes on. On several processes or machines: accelerate launch -m ssp_sam.cli.main annotate ...
"""

import argparse

from ..annotation.options import AnnotationOptions
from ..training.options import add_options, defaults_of
from .files import read_expressions, told
from .model import add_model_options, load_pipeline

EXAMPLE = 'ssp-sam annotate images --classes car dog --template "the {}" --output annotated'


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder or glob of images, a .txt that lists them, webdataset's tars, parquet files, a folder of "
        "datasets, or the id of a dataset on the Hub (owner/name or owner/name@revision), which is streamed",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write, or to go on with")
    asked = parser.add_argument_group("what to look for (default: what stands in the column expressions)")
    asked.add_argument("--expressions", metavar="FILE", help="a text file with one in each line, for every image")
    asked.add_argument("--column", metavar="NAME", help="column of SOURCE with an expression or a list of them")
    asked.add_argument("--classes", nargs="+", metavar="NAME", help="names of classes, for every image")
    asked.add_argument("--template", default="the {}", metavar="TEXT", help="words around a class name (the {})")
    add_model_options(parser)
    results = parser.add_argument_group("what to write")
    results.add_argument("--format", choices=("parquet", "coco"), default="parquet", help="coco: also instances.json")
    add_options(results, AnnotationOptions, names=("cutouts", "split"))
    work = parser.add_argument_group("how to work")
    add_options(work, AnnotationOptions, left_out=("cutouts", "split"))
    work.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Annotates; returns 0."""
    import datasets

    from ..annotation.job import annotate
    from ..training.processes import open_accelerator

    datasets.disable_progress_bars()
    names = ("column", "classes", "template", "quiet", *defaults_of(AnnotationOptions))
    options.coco = options.format == "coco"
    expressions = read_expressions(options.expressions) if options.expressions else None
    accelerator = open_accelerator()
    options.device = options.device or str(accelerator.device)
    with told():
        summary = annotate(
            options.source,
            options.output,
            expressions,
            model=load_pipeline(options),
            accelerator=accelerator,
            **{name: getattr(options, name) for name in names},
        )
    if accelerator.is_main_process and not options.quiet:
        _tell(summary)
    accelerator.end_training()
    return 0


def _tell(summary):
    counted = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in summary.counts().items())
    print(f"{summary.folder}: {counted}")
    for reason, number in summary.reasons.items():
        print(f"  failed: {number:,} x {reason}")
    if summary.images_of_run:
        rate = summary.images_of_run / summary.seconds
        print(
            f"this run: {summary.images_of_run:,} images, {rate:.2f} a second, {summary.waiting_fraction:.1%} waiting"
        )
