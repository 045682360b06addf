# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Draws samples of what `ssp-sam prepare` made: masks, boxes and sentences; samples in which nothing is meant are marked,
and so is what makes a label suspicious.
"""

import argparse
import random

from .files import InputError, check_drawing_name, told, write_image

EXAMPLE = "ssp-sam show-data prepared --split train --n 8"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("folder", metavar="DIR", help="folder of a prepared benchmark")
    parser.add_argument("--n", type=int, default=16, metavar="N", help="how many samples (default: 16)")
    parser.add_argument("--split", metavar="NAME", help="only samples of this split (default: of all)")
    parser.add_argument(
        "--suspicious", action="store_true", help="only samples whose labels look wrong to the preparation"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another number draws other samples (default: 0)"
    )
    parser.add_argument("--columns", type=int, default=4, metavar="N", help="samples beside each other (default: 4)")
    parser.add_argument("--output", default="sheet.png", metavar="FILE", help="drawing to write (default: sheet.png)")


def run(options: argparse.Namespace) -> int:
    """Draws the samples; returns 0."""
    import datasets

    from ..processing.visualization.data_sheet import draw_data_sheet
    from ..training.data.masks import decode
    from ..training.data.prepared import load_prepared, load_suspicions, read_image, shards_by_split

    for name, value in (("--n", options.n), ("--columns", options.columns)):
        if value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")
    check_drawing_name("--output", options.output)
    datasets.disable_progress_bars()
    with told():
        names = [options.split] if options.split is not None else sorted(shards_by_split(options.folder))
        suspicions = load_suspicions(options.folder)
        splits = {name: load_prepared(options.folder, name) for name in names}
        samples = [
            (name, index)
            for name, split in splits.items()
            for index, ref_id in enumerate(split["ref_id"])
            if not options.suspicious or (name, ref_id) in suspicions
        ]
        if not samples:
            raise ValueError(f"{options.folder!r} has no suspicious samples" if options.suspicious else "no samples")
        drawn = sorted(random.Random(options.seed).sample(range(len(samples)), min(options.n, len(samples))))
        rows = []
        for name, index in (samples[number] for number in drawn):
            row = splits[name].cast_column("image", datasets.Image(decode=False))[index]
            row |= {"image": read_image(row), "masks": [decode(rle) for rle in row["masks"]]}
            rows.append(row | {"suspicions": suspicions.get((name, row["ref_id"]), [])})
        sheet = draw_data_sheet(rows, options.columns)
    write_image(sheet, options.output)
    print(f"{len(rows)} of {len(samples)} samples: {options.output}")
    return 0
