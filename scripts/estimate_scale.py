# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Estimates what labelling a collection costs: arithmetic counted on the model, processors and storage from measurements.

    python scripts/estimate_scale.py
    python scripts/estimate_scale.py --annotation labelled --images 1e8 --utilisation 0.3

The seconds of a processor are what `python scripts/benchmark.py stages` prints for a photograph. The arithmetic is
that of the default model, counted without computing it; a GPU's time is that divided by what it reaches of its peak.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pyarrow.parquet as parquet
import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.speed.works import about_one_image, default_model, default_pixels

HOUR, TERA = 3600, 1e12


def teraflops_of_an_image(expressions: int) -> tuple[float, float]:
    """Returns the arithmetic of one image's encoders and of its expressions, in 10^12 operations."""
    model = default_model("meta")
    with torch.no_grad():
        with FlopCounterMode(display=False) as encoders:
            features = model.get_image_features(**default_pixels(model))
        with FlopCounterMode(display=False) as decoder:
            model(**about_one_image(expressions, "meta"), image_features=features)
    return encoders.get_total_flops() / TERA, decoder.get_total_flops() / TERA


def bytes_of_a_row(folder: str) -> float:
    """Returns what a row of an annotation takes on disk."""
    paths = list(Path(folder, "data").glob("*.parquet"))
    return sum(path.stat().st_size for path in paths) / sum(parquet.read_metadata(path).num_rows for path in paths)


def estimate(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns the lines of the table: what, and how much."""
    images, per_image = options.images, options.expressions
    encoding, decoding = teraflops_of_an_image(per_image)
    rate = options.peak_teraflops * options.utilisation / (encoding + decoding)
    reading = options.decode_seconds + options.write_seconds + options.read_seconds * per_image
    row = bytes_of_a_row(options.annotation) if options.annotation else options.row_bytes
    return [
        ("arithmetic of an image's encoders", f"{encoding:.2f} TFLOP"),
        (f"arithmetic of its {per_image} expressions", f"{decoding:.3f} TFLOP"),
        ("images a second on one GPU", f"{rate:,.0f}"),
        (f"GPU hours for {images:,.0f} images", f"{images / rate / HOUR:,.0f}"),
        ("processor seconds of an image around the model", f"{reading:.4f}"),
        ("processors that keep one GPU busy", f"{rate * reading:.1f}"),
        ("processor hours in all", f"{images * reading / HOUR:,.0f}"),
        ("images read, for each GPU", f"{rate * options.image_bytes / 1e6:,.0f} MB a second"),
        ("images read in all", f"{images * options.image_bytes / TERA:,.0f} TB"),
        ("rows written, for each GPU", f"{rate * per_image * row / 1e6:.2f} MB a second"),
        ("rows written in all, images pointed to", f"{images * per_image * row / TERA:,.2f} TB"),
        (f"shards of {options.shard_size:,} images", f"{images / options.shard_size:,.0f}"),
        ("a shard on one GPU, lost at most by a kill", f"{options.shard_size / rate:,.0f} s"),
    ]


def main(arguments: list[str] | None = None):
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default, text in (
        ("--images", 1e9, "images"),
        ("--image-bytes", 150_000, "bytes of an image's file"),
        ("--peak-teraflops", 989, "of the GPU in bfloat16, without sparsity (default: that of an H100 SXM)"),
        ("--utilisation", 0.4, "fraction of the peak that is reached"),
        ("--decode-seconds", 0.041, "processor seconds to decode, resize and tokenise an image"),
        ("--read-seconds", 0.0033, "processor seconds to read and encode one mask"),
        ("--write-seconds", 0.004, "processor seconds to write an image's rows"),
        ("--row-bytes", 300, "bytes of a row"),
    ):
        parser.add_argument(name, type=float, default=default, metavar="N", help=f"{text} ({default:g})")
    parser.add_argument("--expressions", type=int, default=3, metavar="N", help="expressions of an image (3)")
    parser.add_argument("--shard-size", type=int, default=10_000, metavar="N", help="images of a shard (10000)")
    parser.add_argument("--annotation", metavar="DIR", help="take the bytes of a row from this annotation")
    rows = estimate(parser.parse_args(arguments))
    print("\n".join(["| | |", "|---|---:|", *(f"| {what} | {much} |" for what, much in rows)]))


if __name__ == "__main__":
    main()
