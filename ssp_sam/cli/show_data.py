# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam show-data`: draws samples of a prepared benchmark."""

import argparse
import os
import random
from pathlib import Path

from .files import OVERLAY_SUFFIXES, InputError, one_line, write_picture


def add_parser(commands):
    """Adds the subcommand to those of `ssp-sam`."""
    show = commands.add_parser(
        "show-data",
        description="Draws samples of what scripts/prepare_refer_dataset.py made: masks, boxes and sentences; samples "
        "in which nothing is meant are marked.",
        example="ssp-sam show-data prepared --split train --n 8",
    )
    show.add_argument("folder", metavar="DIR", help="folder of a prepared benchmark")
    show.add_argument("--n", type=int, default=16, metavar="N", help="how many samples (default: 16)")
    show.add_argument("--split", metavar="NAME", help="only samples of this split (default: of all)")
    show.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another number draws other samples (default: 0)"
    )
    show.add_argument("--columns", type=int, default=4, metavar="N", help="samples beside each other (default: 4)")
    show.add_argument("--output", default="sheet.png", metavar="FILE", help="picture to write (default: sheet.png)")
    show.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draws the samples; returns 0."""
    import datasets

    from ..processing.visualization.data_sheet import draw_data_sheet
    from ..training.data.masks import decode
    from ..training.data.prepared import load_prepared, shards_by_split

    for name, value in (("--n", options.n), ("--columns", options.columns)):
        if value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")
    if Path(options.output).suffix.lower() not in OVERLAY_SUFFIXES or os.path.isdir(options.output):
        raise InputError(f"--output must end in one of {' '.join(sorted(OVERLAY_SUFFIXES))}, got {options.output!r}")
    datasets.disable_progress_bars()
    try:
        names = [options.split] if options.split is not None else sorted(shards_by_split(options.folder))
        splits = [load_prepared(options.folder, name) for name in names]
        places = [(split, index) for split in splits for index in range(len(split))]
        drawn = sorted(random.Random(options.seed).sample(range(len(places)), min(options.n, len(places))))
        rows = [places[place][0][places[place][1]] for place in drawn]
        rows = [row | {"masks": [decode(rle) for rle in row["masks"]]} for row in rows]
        sheet = draw_data_sheet(rows, options.columns)
    except (OSError, ValueError) as error:
        raise InputError(one_line(error)) from error
    write_picture(sheet, options.output)
    print(f"{len(rows)} of {len(places)} samples: {options.output}")
    return 0
