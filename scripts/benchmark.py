# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Measures what takes time beside something known, and prints one Markdown table.

    python scripts/benchmark.py
    python scripts/benchmark.py start --repetitions 9 --output speed.md
    python scripts/benchmark.py --device cuda

Each group of works has a baseline, its first row. The works of a group run in turn, again and again, so that other
work on the machine slows all of them alike, after one turn that is not counted. What counts is the median: of processor
seconds, of the process and those that it starts, each on one thread; on a GPU, of the time until it has finished.
Ratios are those of one run and never compared across runs. Where SSP_SAM_ORIGINAL names a checkout of the original's
code, the groups `paper` and `peers` measure it, too.
"""

import argparse
import ctypes
import gc
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from scripts.speed import inference, training
from scripts.speed.labelling import labelling, serving, stages
from scripts.speed.works import COMMAND, Work, program, write_photograph

# Where Linux says how much memory this process holds and has held at most, and where that is forgotten.
STATUS, CLEAR_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LIBC = ctypes.CDLL(None)


def start(folder: Path, device: str) -> Iterator[Work]:
    """How long a command takes until it works, beside the import of what no model can do without."""
    write_photograph(folder / "photo.jpg", 1800, 1200)
    segment = ["segment", "photo.jpg", "the red car", "the dog", "everything", "--device", device]
    least = "import torch; from transformers import SamModel"
    yield Work("import of torch and transformers' SamModel", program(folder, least))
    yield Work("`import ssp_sam`", program(folder, "import ssp_sam"))
    for words in (["--version"], ["--help"], ["segment", "--help"], ["train", "--help"]):
        yield Work(f"`ssp-sam {' '.join(words)}`", program(folder, COMMAND, *words))
    yield Work("`ssp-sam segment`, 1800 x 1200, 3 expressions", program(folder, COMMAND, *segment))


ON_DEVICE: dict[str, Callable[[str], Iterator[Work]]] = {
    **{f"sam-{size.lower()}": partial(inference.image_encoder, size=size) for size in inference.ENCODERS},
    "expressions": inference.expressions,
    "whole-answer": inference.whole_answer,
    "peers": inference.peers,
    "embedded": inference.embedded,
    "many-expressions": inference.many_expressions,
    "photograph": inference.photograph,
    "paper": training.paper,
    "fine-tuning": training.fine_tuning,
    "graphs": inference.graphs,
    "compiled-pipeline": inference.compiled_pipeline,
    "stream": inference.stream,
}
GROUPS: dict[str, Callable[[Path, str], Iterator[Work]]] = {
    "start": start,
    **{name: lambda _, device, works=works: works(device) for name, works in ON_DEVICE.items()},
    "loading": inference.loading,
    "evaluation": training.evaluation,
    **{f"waiting-{kind}": partial(training.waiting, kind=kind) for kind in training.RUNS},
    "stages": stages,
    "labelling": labelling,
    "serving": serving,
}


class Cost(NamedTuple):
    """
    What a work took.

    Args:
        seconds: of the processor, or until the GPU has finished.
        megabytes: the most that was held at a time, beside what was held before.
    """

    seconds: float
    megabytes: float


def measure(works: list[Work], repetitions: int, device: str) -> list[Cost | None]:
    """Returns the median costs of each work, which take turns; `None` for one that cannot run, whose error is shown."""
    costs: dict[int, list[Cost]] = {index: [] for index in range(len(works))}
    for turn in range(1 + repetitions):
        for index in list(costs):
            try:
                cost = cost_of(works[index], device)
            except Exception as error:  # the other rows are worth having
                print(f"{works[index].name}: {type(error).__name__}: {str(error):.500}", file=sys.stderr)
                del costs[index]
            else:
                costs[index] += [cost] if turn > 0 else []
    return [Cost(*map(median, zip(*costs[index]))) if index in costs else None for index in range(len(works))]


def cost_of(work: Work, device: str) -> Cost:
    """Runs a work once and returns what it took."""
    clock = processor_seconds if device == "cpu" else finished_seconds
    held, before = held_megabytes(device), clock()
    told = work.run()
    seconds = told if work.tells_time else clock() - before
    return Cost(seconds, most_megabytes(device) - held)


def processor_seconds() -> float:
    """What this process and the ended ones that it started have used so far."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in usage)


def finished_seconds() -> float:
    """The time at which the GPU has done what it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def held_megabytes(device: str) -> float:
    """Returns what is held now, and lets `most_megabytes` count from here on."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)  # what was freed is not held
    if CLEAR_PEAK.exists():
        CLEAR_PEAK.write_text("5")
    return most_megabytes(device)


def most_megabytes(device: str) -> float:
    """Returns the most that was held since `held_megabytes`; on a CPU where Linux tells it, else 0."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    lines = STATUS.read_text().splitlines() if CLEAR_PEAK.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def table(group: str, works: list[Work], costs: list[Cost | None], device: str) -> str:
    """Returns the rows of a group as Markdown; the first is what the others are divided by."""
    unit = "processor seconds" if device == "cpu" and not works[0].tells_time else "seconds"
    rows = []
    for work, cost in zip(works, costs, strict=True):
        if cost is None:
            rows.append(f"| {work.name} | – | – | – |")
            continue
        ratio = f"{cost.seconds / costs[0].seconds:.2f}" if costs[0] else "–"
        memory = f"{cost.megabytes:,.0f}" if cost.megabytes >= 1 else "–"
        rows.append(f"| {work.name} | {cost.seconds:.3g} | {ratio} | {memory} |")
    return "\n".join([f"| {group} | {unit} | ratio | MiB |", "|---|---:|---:|---:|", *rows])


def describe(device: str, repetitions: int) -> str:
    """Returns what the figures depend on, in one line."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    where = platform.machine() if device == "cpu" else torch.cuda.get_device_name()
    return f"{where}, Python {platform.python_version()}, {libraries}; medians of {repetitions}"


def main(arguments: list[str] | None = None):
    """Measures the groups that are named, all where none is, and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="turns of each work (default: 5)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where models run (default: cpu)")
    parser.add_argument("--output", metavar="FILE", help="also write the tables to this file")
    options = parser.parse_args(arguments)
    unknown = set(options.groups) - set(GROUPS)
    if unknown or options.repetitions < 1:
        parser.error(f"there is no group {unknown.pop()!r}" if unknown else "--repetitions must be 1 or more")
    if options.device == "cpu":
        torch.set_num_threads(1)
    parts = []
    for part in [None, *(options.groups or GROUPS)]:
        if part is None:
            parts.append(describe(options.device, options.repetitions))
        else:
            with tempfile.TemporaryDirectory() as folder:
                works = list(GROUPS[part](Path(folder), options.device))
                parts.append(table(part, works, measure(works, options.repetitions, options.device), options.device))
        # Each part as soon as it is there, since the whole takes long.
        print(parts[-1], end="\n\n", flush=True)
        if options.output:
            Path(options.output).write_text("\n\n".join(parts) + "\n", "utf-8")


if __name__ == "__main__":
    main()
