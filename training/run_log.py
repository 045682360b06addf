# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a run tells, on the main process: a log file, lines, a progress bar, trackers, and a summary."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .atomic_files import telling, write_aside, write_text

LOG_FILE = "log.jsonl"
SUMMARY_FILE = "summary.json"
SHOWN_METRICS = ("gIoU", "Pr@0.5", "Pr@0.9", "N-acc", "T-acc", "box IoU", "box Acc@0.5")
NO_CURVES = ("step", "minutes", "samples", "epoch", "event", "metrics")


class RunLog:
    """
    Writes `log.jsonl` in the run's folder and hands the same numbers on.

    Args:
        total_steps: Length of the run; `None` where the clock decides.
        state: `step` and `samples` it begins with; what a killed run logged after that step is dropped.
        progress: Fraction of the run that is over.
    """

    def __init__(self, accelerator, output_dir: str | Path, *, total_steps: int | None, state: dict, progress: float):
        self.accelerator, self.folder = accelerator, Path(output_dir)
        self.enabled = accelerator.is_main_process
        self._origin = (time.monotonic(), progress)
        self._mark = (time.monotonic(), state["samples"])
        self._waited = 0.0  # seconds since the mark
        # Drawn on a terminal only; elsewhere the lines carry the rate and the time left.
        self._bar = tqdm(total=total_steps, initial=state["step"], unit="step", disable=None if self.enabled else True)
        path = self.folder / LOG_FILE
        if self.enabled and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if state["step"] and _step_of(line) <= state["step"]]
            write_text(path, "".join(f"{line}\n" for line in kept))

    def timed(self, batches: Iterator[dict]) -> Iterator[dict]:
        """Yields endless batches, and keeps for the log how long the run waited for them."""
        while True:
            start = time.monotonic()
            batch = next(batches)
            self._waited += time.monotonic() - start
            yield batch

    def step(self):
        """Moves the progress bar on by one step."""
        self._bar.update()

    def train(self, state: dict, progress: float, values: dict[str, float]):
        """Writes the means of a window of steps, how fast it was, the fraction of waiting, and the time left."""
        now, (then, samples), (start, first) = time.monotonic(), self._mark, self._origin
        self._mark = (now, state["samples"])
        rate = (state["samples"] - samples) / max(1e-9, now - then)
        waiting, self._waited = self._waited / max(1e-9, now - then), 0.0
        left = (1 - progress) * (now - start) / max(1e-9, progress - first) / 60
        self._bar.set_postfix_str(f"{left:.0f} min left", refresh=False)
        pace = {"rate": round(rate, 1), "minutes_left": round(left, 1), "waiting": round(waiting, 4)}
        self._write(state, {"event": "train"} | pace | values)

    def evaluation(self, state: dict, metrics: dict):
        """Writes the metrics of an evaluation."""
        self._write(state, {"event": "eval", "metrics": metrics})

    def drawings(self, state: dict, drawings: list):
        """Saves PIL images as files and hands them to trackers that take images."""
        if not (self.enabled and drawings):
            return
        for number, drawing in enumerate(drawings):
            with write_aside(self.folder / "drawings" / f"step_{state['step']:07d}_{number}.png") as aside:
                drawing.save(aside)
        for tracker in self.accelerator.trackers:
            if hasattr(tracker, "log_images"):
                images = {f"predictions/{n}": np.asarray(drawing)[None] for n, drawing in enumerate(drawings)}
                options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images(images, step=state["step"], **options)

    def finish(self, summary: dict[str, Any]):
        """Closes the progress bar, and writes and prints the summary of the run."""
        self._bar.close()
        if self.enabled:
            text = json.dumps(summary, indent=2)
            write_text(self.folder / SUMMARY_FILE, text + "\n")
            print(f"summary {text}", flush=True)

    def _write(self, state: dict, entry: dict):
        if not self.enabled:
            return
        position = {"step": state["step"], "minutes": round(state["minutes"], 2), "samples": state["samples"]}
        if "epoch" in state:
            position["epoch"] = state["epoch"]
        path = self.folder / LOG_FILE
        with telling(path), open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(position | _finite(entry), allow_nan=False) + "\n")
        tqdm.write(short_line(position | entry), file=sys.stdout)
        sys.stdout.flush()
        if self.accelerator.trackers:
            self.accelerator.log(curves(entry), step=state["step"])


def curves(entry: dict) -> dict[str, float]:
    """Flattens an entry of the log into named numbers: `train/loss`, `eval/all/gIoU`."""
    if entry["event"] == "train":
        return {f"train/{name}": value for name, value in entry.items() if name not in NO_CURVES}
    flat = {}
    for group, row in entry["metrics"].items():
        cells = row.items() if isinstance(row, dict) else [("", row)]
        flat |= {f"eval/{group}/{name}".rstrip("/"): value for name, value in cells if value is not None}
    return flat


def short_line(entry: dict) -> str:
    """Shortens an entry of the log for the terminal."""
    head = f"[{entry['minutes']:6.1f} min] step {entry['step']:6d}"
    if "epoch" in entry:
        head += f" epoch {entry['epoch']:.2f}"
    if entry["event"] == "eval":
        rows = {k: v for k, v in entry["metrics"].items() if isinstance(v, dict)}
        if not rows:
            return f"{head} eval " + " ".join(f"{name} {value:.3f}" for name, value in entry["metrics"].items())
        overall = " ".join(
            f"{name} {rows['all'][name]:.3f}" for name in SHOWN_METRICS if rows["all"].get(name) is not None
        )
        kinds = " ".join(f"{kind} {row['gIoU']:.2f}" for kind, row in rows.items() if kind != "all")
        return f"{head} eval {overall} | {kinds}"
    parts = " ".join(
        f"{name} {value:.3f}" for name, value in entry.items() if name not in (*NO_CURVES, "lr", "rate", "minutes_left")
    )
    return f"{head} {entry['rate']:.0f}/s {entry['minutes_left']:.0f} min left lr {entry['lr']:.1e} {parts}"


def _finite(entry: dict) -> dict:
    """Writes `None` for what JSON has no number for, such as the gradient norm of a step that overflowed in fp16."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in entry.items()}


def _step_of(line: str) -> int:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return sys.maxsize  # cut off when the run was killed
