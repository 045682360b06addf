# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Prepares a benchmark of referring segmentation, or a custom dataset, for training and evaluation. A run that was stopped
goes on when the command is repeated.
"""

import argparse
import os
import sys
import time

from ..training.options import add_options
from ..training.preparation.readers.records import PreparationError
from ..training.preparation.settings import ALIASES, BENCHMARKS, PreparationSettings
from .files import InputError

EXAMPLE = "ssp-sam prepare custom --annotations my_images --output prepared/mine"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    known = [*BENCHMARKS, *ALIASES]
    parser.add_argument("benchmark", choices=known, metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    add_options(parser, PreparationSettings)
    parser.set_defaults(processes=min(8, os.cpu_count() or 1))


def run(options: argparse.Namespace) -> int:
    """Prepares what the command line asks for and prints the report; returns 0."""
    from ..training.preparation.report import describe

    settings = {name: value for name, value in vars(options).items() if name not in ("command", "run", "output")}
    start = time.perf_counter()
    try:
        report = _prepare_with_bar(PreparationSettings(**settings), options.output)
    except PreparationError as error:
        raise InputError(f"{error}; {error.hint}" if error.hint else str(error)) from error
    except KeyboardInterrupt:
        print("ssp-sam: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
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


def _prepare_with_bar(settings: PreparationSettings, output: str) -> dict:
    """Prepares under a progress bar, which begins with the rows: what is refused before them is one line."""
    from tqdm import tqdm

    from ..training.preparation.prepare import prepare

    bar = tqdm(disable=True)

    def begin(total: int | None):
        nonlocal bar
        bar = tqdm(total=total, unit="ref", smoothing=0.05, file=sys.stderr)

    try:
        return prepare(settings, output, begin=begin, progress=lambda number: bar.update(number))
    finally:
        bar.close()


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
