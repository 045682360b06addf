# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepares a benchmark of referring segmentation, or data of your own, for training and evaluation.

    python scripts/prepare_refer_dataset.py refcoco --annotations data --images coco/train2014 --output prepared/refcoco

docs/data.md says where the files come from and what the result holds.
"""

import argparse
import os
import resource
import sys
import time

from tqdm import tqdm

from ssp_sam.training.preparation.prepare import ALIASES, BENCHMARKS, PreparationSettings, prepare
from ssp_sam.training.preparation.readers.records import PreparationError
from ssp_sam.training.preparation.report import describe


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Prepares a benchmark of referring segmentation, or data of your own, for training and evaluation. "
        "A run that was stopped goes on when the command is repeated.",
    )
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *ALIASES], metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    parser.add_argument("--annotations", required=True, metavar="PATH", help="folder or file; for hub also an id")
    parser.add_argument("--images", metavar="DIR", help="folder of images")
    parser.add_argument("--masks", metavar="DIR", help="folder of mask files, for original and folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--split-by", metavar="NAME", help="who divided into splits: unc, google, umd, berkeley")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only these splits")
    parser.add_argument("--image-bytes", action="store_true", help="store the pictures themselves, not their paths")
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
        help="prepared benchmarks whose held-out pictures to compare",
    )
    parser.add_argument("--processes", type=int, default=min(8, os.cpu_count() or 1), metavar="N")
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept counts that differ from the published ones"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out records that cannot be used, and count them")
    return parser.parse_args(arguments)


def peak_memory_bytes(processes: int) -> int:
    """At most how much memory this process and its helpers held; what they share is counted for each of them."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    helper = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if processes > 1 else 0
    return unit * (own + processes * helper)


def processor_seconds() -> float:
    """Processor time of this process and its helpers so far."""
    return sum(os.times()[:4])


def main(arguments: list[str] | None = None) -> int:
    """Prepares what the command line asks for; returns the exit code."""
    options = vars(parse_arguments(arguments))
    output = options.pop("output")
    start = time.perf_counter()
    bar = tqdm(unit="ref", smoothing=0.05)
    try:
        report = prepare(
            PreparationSettings(**options), output, begin=lambda total: bar.reset(total), progress=bar.update
        )
    except PreparationError as error:
        bar.close()
        print(f"prepare_refer_dataset: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        bar.close()
        print("prepare_refer_dataset: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    bar.close()
    seconds = time.perf_counter() - start
    total = report["counts"]["total"]
    print(describe(report))
    print(
        f"{total['references']:,} references, {total['expressions']:,} expressions in {seconds:.1f} s "
        f"({total['references'] / seconds:,.0f} references/s; {processor_seconds():.1f} s of processor time), "
        f"at most {peak_memory_bytes(options['processes']) / 2**30:.2f} GiB of memory"
    )
    print(f"{output}: fingerprint {report['fingerprint']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
