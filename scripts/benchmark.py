# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Measures what takes time beside something known, and prints one Markdown table.

    python scripts/benchmark.py
    python scripts/benchmark.py start --repetitions 9 --output speed.md

Each group of works has a baseline, its first row. The works of a group run in turn, again and again, so that other
work on the machine slows all of them alike; what counts is the median of processor seconds, of the process and those
that it starts, each on one thread. Ratios are those of one run and never compared across runs.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

# One thread, no network, and the checkout that this script lies in.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
COMMAND = "import sys; sys.argv[0] = 'ssp-sam'; from ssp_sam.cli.main import main; sys.exit(main())"


class Work(NamedTuple):
    """
    One row of the table.

    Args:
        name: what is done.
        run: does it once.
    """

    name: str
    run: Callable[[], object]


def start(folder: Path) -> Iterator[Work]:
    """How long a command takes until it works, beside the import of what no model can do without."""
    write_photograph(folder / "photo.jpg", 1800, 1200)
    segment = ["segment", "photo.jpg", "the red car", "the dog", "everything"]
    least = "import torch; from transformers import SamModel"
    yield Work("import of torch and transformers' SamModel", program(folder, least))
    yield Work("`import ssp_sam`", program(folder, "import ssp_sam"))
    for words in (["--version"], ["--help"], ["segment", "--help"], ["train", "--help"]):
        yield Work(f"`ssp-sam {' '.join(words)}`", program(folder, COMMAND, *words))
    yield Work("`ssp-sam segment`, 1800 x 1200, 3 expressions", program(folder, COMMAND, *segment))


def image_encoder(size: str) -> Iterator[Work]:
    """One image through SAM's encoder with random weights: transformers' own layers, and the same weights in ours."""
    import torch
    from transformers import SamConfig, SamModel, SamVisionConfig

    from ssp_sam.modeling_ssp_sam.towers import build_sam

    torch.set_num_threads(1)
    config = SamConfig(vision_config=SamVisionConfig(**ENCODERS[size], initializer_range=0.02))
    config.vision_config._attn_implementation = "sdpa"
    stock, ours = SamModel(config).eval().vision_encoder, build_sam(config).eval().vision_encoder
    ours.load_state_dict(stock.state_dict())
    pixels = torch.randn(1, 3, config.vision_config.image_size, config.vision_config.image_size)

    def encode(encoder: torch.nn.Module, half: bool) -> Callable[[], object]:
        @torch.no_grad()
        def run():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                return encoder(pixels).last_hidden_state

        return run

    for half, dtype in ((False, "float32"), (True, "bfloat16 by autocast")):
        yield Work(f"transformers' SAM {size}, {dtype}", encode(stock, half))
        yield Work(f"this library's SAM {size}, {dtype}", encode(ours, half))


# Fields of SAM's image encoders beside the defaults of transformers.
ENCODERS: dict[str, dict] = {
    "ViT-B": {},
    "ViT-L": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
        "mlp_dim": 4096,
    },
    "ViT-H": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
        "mlp_dim": 5120,
    },
}
GROUPS: dict[str, Callable[[Path], Iterator[Work]]] = {"start": start}
GROUPS |= {f"sam-{size.lower()}": lambda folder, size=size: image_encoder(size) for size in ENCODERS}


def program(folder: Path, code: str, *words: str) -> Callable[[], object]:
    """Returns what runs Python code in a process of its own, in a folder and with these words."""
    line, environment = [sys.executable, "-c", code, *words], os.environ | ENVIRONMENT
    return lambda: subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True)


def write_photograph(path: Path, width: int, height: int):
    """Writes a JPEG that is as costly to decode as a photograph: soft colours under a little noise."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)).resize((width, height))
    noisy = np.asarray(colours) + rng.normal(0, 8, (height, width, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=92)


def measure(works: list[Work], repetitions: int) -> list[float]:
    """Returns the median processor seconds of each work, which take turns."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repetitions):
        for work, times in zip(works, seconds):
            before = processor_seconds()
            work.run()
            times.append(processor_seconds() - before)
    return [median(times) for times in seconds]


def processor_seconds() -> float:
    """What this process and the ended ones that it started have used so far."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in usage)


def table(group: str, works: list[Work], seconds: list[float]) -> str:
    """Returns the rows of a group as Markdown; the first is what the others are divided by."""
    rows = [
        f"| {work.name} | {used:.3g} | {used / seconds[0]:.2f} |" for work, used in zip(works, seconds, strict=True)
    ]
    return "\n".join([f"| {group} | processor seconds | ratio |", "|---|---:|---:|", *rows])


def main(arguments: list[str] | None = None):
    """Measures the groups that are named, all where none is, and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="turns of each work (default: 5)")
    parser.add_argument("--output", metavar="FILE", help="also write the tables to this file")
    options = parser.parse_args(arguments)
    unknown = set(options.groups) - set(GROUPS)
    if unknown or options.repetitions < 1:
        parser.error(f"there is no group {unknown.pop()!r}" if unknown else "--repetitions must be 1 or more")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    parts = [f"{platform.machine()}, Python {platform.python_version()}, {libraries}; medians of {options.repetitions}"]
    for group in options.groups or GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            works = list(GROUPS[group](Path(folder)))
            parts.append(table(group, works, measure(works, options.repetitions)))
    text = "\n\n".join(parts)
    print(text)
    if options.output:
        Path(options.output).write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
