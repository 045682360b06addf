# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam prepare`: a benchmark of referring segmentation, or a custom dataset, as training and evaluation read it."""

import argparse
import os
import sys
import time

from .files import InputError

FORMATS = "metadata coco labelme yolo cvat masks table".split()  # of custom datasets; each is short for custom in it
BENCHMARKS = "refcoco refcoco+ refcocog refclef grefcoco phrasecut merge original hub custom".split() + FORMATS
ALIASES = ("referit", "refcocoplus", "phrase_cut", "own", "folder")
EXAMPLE = "ssp-sam prepare custom --annotations my_images --output prepared/mine"


def add_parser(commands):
    """Adds the subcommand to those of `ssp-sam`."""
    parser = commands.add_parser(
        "prepare",
        description="Prepares a benchmark of referring segmentation, or a custom dataset, for training and evaluation. "
        "A run that was stopped goes on when the command is repeated.",
        example=EXAMPLE,
    )
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *ALIASES], metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--annotations", metavar="PATH", help="folder or file; for hub also an id; with --from-hub the file's name"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--images", metavar="DIR", help="folder of images")
    parser.add_argument("--masks", metavar="DIR", help="folder of mask files, for original and custom")
    parser.add_argument(
        "--from-hub", metavar="ID", help="repository on the Hub that holds the annotations of original and merge"
    )
    parser.add_argument(
        "--coco-annotations", metavar="FILE", help="instances_train2014.json, to draw the masks of original from"
    )
    parser.add_argument("--split-by", metavar="NAME", help="who divided into splits: unc, google, umd, berkeley")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only these splits")
    parser.add_argument("--image-bytes", action="store_true", help="store the images themselves, not their paths")
    parser.add_argument(
        "--mask-rule",
        choices=["coco", "phrasecut"],
        default="coco",
        help="draw polygons as pycocotools does, or as PhraseCut's own evaluator does",
    )
    parser.add_argument(
        "--held-out",
        nargs="+",
        default=[],
        metavar="DIR",
        help="prepared benchmarks whose held-out images to compare",
    )
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N")
    parser.add_argument(
        "--no-decode-check",
        dest="decode_check",
        action="store_false",
        help="do not decode every image to find damaged ones",
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept counts that differ from the published ones"
    )
    parser.add_argument(
        "--allow-empty-targets", type=int, metavar="N", help="accept N targets without a pixel (default: a hundredth)"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out records that cannot be used, and count them")
    _add_custom_options(parser.add_argument_group("custom datasets"))
    parser.set_defaults(run=run)


def _add_custom_options(group):
    group.add_argument("--format", choices=FORMATS, help="the format (default: found by what lies in the folder)")
    group.add_argument(
        "--no-made-expressions",
        dest="made_expressions",
        action="store_false",
        help="do not make sentences of classes and positions where there are none",
    )
    group.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        default=[],
        metavar="NAME=COLUMN",
        help="columns of a table: image=… mask=… expressions=…",
    )


def _column(text: str) -> tuple[str, str]:
    name, separator, column = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected NAME=COLUMN, such as image=photo, got {text!r}")
    return name, column


def run(options: argparse.Namespace) -> int:
    """Prepares what the command line asks for and prints the report; returns 0."""
    from tqdm import tqdm

    from ..training.preparation.prepare import PreparationSettings, prepare
    from ..training.preparation.readers.records import PreparationError
    from ..training.preparation.report import describe

    settings = {name: value for name, value in vars(options).items() if name not in ("command", "run", "output")}
    if settings["annotations"] is None:
        what = "the name of the file, such as refcoco" if options.from_hub else "the folder or file of annotations"
        raise InputError(f"--annotations must name {what}")
    settings["columns"] = dict(settings["columns"])
    start = time.perf_counter()
    bar = tqdm(unit="ref", smoothing=0.05, file=sys.stderr)
    try:
        report = prepare(
            PreparationSettings(**settings),
            options.output,
            begin=lambda total: bar.reset(total),
            progress=bar.update,
        )
    except PreparationError as error:
        raise InputError(f"{error}; {error.hint}" if error.hint else str(error)) from error
    except KeyboardInterrupt:
        bar.close()
        print("ssp-sam: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        bar.close()
    seconds = time.perf_counter() - start
    total = report["counts"]["total"]
    print(describe(report))
    print(
        f"{total['references']:,} references, {total['expressions']:,} expressions in {seconds:.1f} s "
        f"({total['references'] / seconds:,.0f} references/s; {sum(os.times()[:4]):.1f} s of processor time), "
        f"at most {peak_memory_bytes(options.processes) / 2**30:.2f} GiB of memory"
    )
    print(f"{options.output}: fingerprint {report['fingerprint']}")
    return 0


def peak_memory_bytes(processes: int) -> int:
    """At most how much memory this process and its helpers held; what they share is counted for each of them."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    helper = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if processes > 1 else 0
    return unit * (own + processes * helper)
