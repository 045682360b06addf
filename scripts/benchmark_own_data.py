# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Fine-tunes the embedded checkpoint on small custom datasets, with several seeds, and prints what becomes of each run.

    python scripts/benchmark_own_data.py outputs/own_data --case textures --seeds 0 1 2 3 4 5 6 7 8 9
    python scripts/benchmark_own_data.py outputs/own_data --case textures --cpu-capability avx2
    python scripts/benchmark_own_data.py outputs/own_data --case textures --without contrast --seeds 0 1
    python scripts/benchmark_own_data.py outputs/own_data --case screens --options --min_steps 900

Ended runs are not repeated. Every run has one thread; its minutes are those of the processor, not of the clock.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from scripts.make_custom_dataset import write_dataset

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = ("gIoU", "N-acc", "T-acc")
METRICS = (*SUMMARY, "Pr@0.5")
LARGE_HW, TINY = (3000, 4000), 30


def read_lines(folder: Path) -> list[dict]:
    """Returns the lines of a custom dataset."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def write_lines(folder: Path, lines: list[dict]):
    """Writes the lines of a custom dataset."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")


def textures(
    folder: Path, count: int = 300, change: Callable[[list[dict]], list[dict]] | None = None, *, both: bool = False
) -> list[str]:
    """Draws textured shapes and 40 images held out, lines (of `both`) changed at will; returns a run's options."""
    held_out = folder.with_name("held_out")
    for drawn, images, seed in ((folder, count, 0), (held_out, 40, 1)):
        if not drawn.exists():
            write_dataset("textures", drawn, images, seed)
            if change is not None and (both or drawn == folder):
                write_lines(drawn, change(read_lines(drawn)))
    return ["--train_dir", str(folder), "--eval_dir", str(held_out)]


def screens(folder: Path) -> list[str]:
    """Draws 60 screens, of which a third is held out."""
    if not folder.exists():
        write_dataset("screens", folder, 60)
    return ["--train_dir", str(folder)]


def only_circles(lines: list[dict]) -> list[dict]:
    """Keeps circles alone and calls each "the circle"."""
    return [{**line, "expression": "the circle"} for line in lines if "circle" in line["expression"] and line["mask"]]


def thousand_lines(lines: list[dict]) -> list[dict]:
    """Repeats the lines of the first image in other words until there are a thousand."""
    first = [line for line in lines if line["image"] == lines[0]["image"]]
    words = ("find {}", "show me {}", "{} please", "where is {}", "i want {}")
    made = [
        {**line, "expression": f"{words[turn % len(words)].format(line['expression'])} {turn}"}
        for turn in range(1000)
        for line in first
    ]
    return made[:1000]


def large(folder: Path) -> list[str]:
    """Makes 24 images of 4000 x 3000 pixels, each with two dots of 30 pixels."""
    if not folder.exists():
        lines = []
        (folder / "images").mkdir(parents=True)
        for number in range(24):
            rng = np.random.default_rng(number)
            pixels = np.full((*LARGE_HW, 3), 230, dtype=np.uint8)
            for colour, value in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
                top, left = (int(rng.integers(side - TINY)) for side in LARGE_HW)
                mask = np.zeros(LARGE_HW, dtype=np.uint8)
                mask[top : top + TINY, left : left + TINY] = 255
                pixels[mask > 0] = value
                Image.fromarray(mask).save(folder / "images" / f"{number}_{colour}.png")
                name = {"image": f"images/{number}.png", "mask": f"images/{number}_{colour}.png"}
                lines.append({**name, "expression": f"the {colour} dot"})
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        write_lines(folder, lines)
    return ["--train_dir", str(folder)]


CASES: dict[str, Callable[[Path], list[str]]] = {
    "textures": textures,
    "screens": screens,
    "twelve_images": lambda folder: textures(folder, 12),
    "more_images": lambda folder: textures(folder, 1200),
    "one_class": lambda folder: textures(folder, 60, only_circles, both=True),
    "no_target_only": lambda folder: textures(folder, 60, lambda lines: [line for line in lines if not line["mask"]]),
    "thousand_expressions": lambda folder: textures(folder, 1, thousand_lines),
    "large_images": large,
}


# What the recipe does for such data, and the settings that leave it out.
REMEDIES: dict[str, list[str]] = {
    "new_words": ["--new_words", "spell"],
    "contrast": ["--contrast_loss_weight", "0"],
    "absent": ["--absent_fraction", "0"],
    "rehearsal": ["--rehearsal", "none"],
    "average": ["--ema_decay", "0"],
    "encoder": ["--model_config", '{"frozen_modules": ["sam.vision_encoder"], "no_target_loss_weight": 3.0}'],
}


def run_once(output: Path, case: str, seed: int, capability: str | None, options: list[str]) -> dict:
    """Trains once in a process of its own; returns what is written down of it."""
    data = CASES[case](output / "data" / case / "train")
    folder = output / "runs" / f"{case}_{capability or 'default'}_{seed}"
    command = [sys.executable, str(ROOT / "training" / "train.py"), "--config", "own_data", *data, "--seed", str(seed)]
    command += ["--output_dir", str(folder), "--overwrite_output_dir", "true"]
    command += ["--scene_cache", str(output / "data" / "scenes"), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if capability is not None:
        environment["ATEN_CPU_CAPABILITY"] = capability
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {"case": case, "capability": capability, "seed": seed, "options": options, "minutes": round(seconds / 60, 2)}
    row["notes"] = [line.removeprefix("note: ") for line in done.stdout.splitlines() if line.startswith("note: ")]
    if done.returncode:
        return row | {"error": done.stderr.strip().splitlines()[-1].removeprefix("train.py: error: ")}
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return row | {"metrics": summary["metrics"], "rehearsed": summary.get("rehearsed"), "steps": summary["step"]}


def table(rows: list[dict]) -> str:
    """Returns runs as a Markdown table, with the least and the median of several, and what the runs said."""
    ended = [row for row in rows if "metrics" in row]
    lines = []
    if ended:
        head = ["seed", *METRICS, "scenes: gIoU", "scenes: N-acc", "minutes"]
        lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in ended:
        cells = [_number(row["metrics"].get(name)) for name in METRICS]
        lines.append(f"| {row['seed']} | {' | '.join(cells + _forgotten(row))} | {row['minutes']:.1f} |")
    for name, reduce in (("least", min), ("median", statistics.median)) if len(ended) > 1 else ():
        columns = [[row["metrics"].get(metric) for row in ended] for metric in METRICS]
        cells = ["" if None in column else _number(reduce(column)) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | | | |")
    lines += sorted({f"- error: {row['error']}" for row in rows if "error" in row})
    lines += sorted({f"- note: {note}" for row in rows for note in row["notes"]})
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _forgotten(row: dict) -> list[str]:
    rehearsed = row["rehearsed"] or {}
    pairs = [[rehearsed.get(when, {}).get(name) for when in ("before", "after")] for name in SUMMARY[:2]]
    return ["" if None in pair else f"{pair[0]:.3f} -> {pair[1]:.3f}" for pair in pairs]


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of data, runs and results.jsonl")
    parser.add_argument("--case", choices=sorted(CASES), default="textures")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--cpu-capability", choices=("default", "avx2", "avx512"), help="instructions that torch uses")
    parser.add_argument("--without", choices=sorted(REMEDIES), help="leave a part of the recipe out")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="settings of the runs, given last")
    options = parser.parse_args(argv)
    given = [*options.options, *REMEDIES.get(options.without, [])]
    options.output.mkdir(parents=True, exist_ok=True)
    results = options.output / "results.jsonl"
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    wanted = {"case": options.case, "capability": options.cpu_capability, "options": given}
    rows = [row for row in known if wanted.items() <= row.items() and row["seed"] in options.seeds]
    for seed in options.seeds:
        if seed in {row["seed"] for row in rows}:
            continue
        row = run_once(options.output, options.case, seed, options.cpu_capability, given)
        rows.append(row)
        with open(results, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"seed {seed}: {row.get('error') or row['metrics']}", flush=True)
    print(
        f"{options.case}, instructions: {options.cpu_capability or 'all'}, settings: {' '.join(given) or 'as they are'}"
    )
    print(table(sorted(rows, key=lambda row: row["seed"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
