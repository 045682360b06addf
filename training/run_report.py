# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a person looks at when a training has ended: `report.md`, `curves.png`, and predictions before and after."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ..processing.visualization.comparison import draw_before_and_after
from ..processing.visualization.curves import Curve, draw_curves
from .atomic_files import write_aside, write_text
from .run_log import LOG_FILE, NO_CURVES

# In the log, but no part of the loss.
NO_PARTS = {*NO_CURVES, "lr", "rate", "minutes_left", "waiting", "grad_norm", "loss"}
REPORTED_METRICS = (
    "gIoU", "cIoU", "Pr@0.5", "Pr@0.9", "N-acc", "T-acc", "box IoU", "box Acc@0.5", "samples",
)  # fmt: skip


def write_run_report(folder: str | Path, summary: dict[str, Any]) -> Path:
    """
    Writes the report of a finished training from its log and drawings, and returns its path; `summary` is what
    `summary.json` says.
    """
    folder = Path(folder)
    entries = [json.loads(line) for line in (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()]
    evaluations = [entry for entry in entries if entry["event"] == "eval"]
    lines = [f"# Training of {folder.name}", ""]
    lines += [f"{summary['step']} steps, {summary['samples']:,} expressions, {summary['minutes']:.1f} minutes."]
    lines += ["", f"The model: `{summary['model']}`", "", *_table(evaluations)]
    if "forgotten" in summary:
        lines += ["", summary["forgotten"]]
    _save(draw_curves(curves_of(entries), folder.name), folder / "curves.png")
    lines += ["", "![loss, its parts, learning rate and metrics over steps](curves.png)"]
    drawings = _first_and_last_drawings(folder)
    if drawings:
        _save(draw_before_and_after(drawings), folder / "before_and_after.png")
        lines += ["", "![the same images before and after](before_and_after.png)"]
    write_text(folder / "report.md", "\n".join(lines) + "\n")
    return folder / "report.md"


def curves_of(entries: list[dict[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Returns the curves of a log by panel: loss, its parts, learning rate, and metrics."""
    training = [entry for entry in entries if entry["event"] == "train"]
    evaluations = [entry for entry in entries if entry["event"] == "eval"]
    parts = sorted({name for entry in training for name in entry if "accuracy" not in name} - NO_PARTS)
    panels = {
        "loss": {"loss": _curve(training, "loss")},
        "parts of the loss": {name: _curve(training, name) for name in parts},
        "learning rate": {"lr": _curve(training, "lr")},
    }
    overall = [{"step": entry["step"], **_overall(entry)} for entry in evaluations]
    shown = [name for name in ("gIoU", "N-acc", "T-acc", "box Acc@0.5") if _curve(overall, name)]
    shown = shown or sorted({name for row in overall for name in row} - {"step"})  # of the stage without expressions
    panels["validation"] = {name: _curve(overall, name) for name in shown}
    return {title: curves for title, curves in panels.items() if any(curves.values())}


def _curve(entries: list[dict[str, Any]], name: str) -> Curve:
    return [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]


def _overall(entry: dict[str, Any]) -> dict[str, Any]:
    return entry["metrics"].get("all", entry["metrics"])


def _table(evaluations: list[dict[str, Any]]) -> list[str]:
    """Returns the metrics of every evaluation as a Markdown table; the first and the last are before and after."""
    rows = [(entry["step"], _overall(entry)) for entry in evaluations]
    names = [name for name in REPORTED_METRICS if any(row.get(name) is not None for _, row in rows)]
    if not names:
        return []
    lines = [f"| step | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for step, row in rows:
        cells = ["–" if row.get(name) is None else f"{row[name]:.3f}" for name in names if name != "samples"]
        cells += [str(row.get("samples", "–"))] if "samples" in names else []
        lines.append(f"| {step}{' (before)' if step == 0 else ''} | {' | '.join(cells)} |")
    return lines


def _first_and_last_drawings(folder: Path) -> list[tuple[Image.Image, Image.Image]]:
    """Returns the drawings of the first and of the last evaluation, image by image."""
    by_step: dict[int, dict[int, Path]] = {}
    for path in (folder / "drawings").glob("step_*_*.png"):
        _, step, number = path.stem.split("_")
        by_step.setdefault(int(step), {})[int(number)] = path
    if len(by_step) < 2:
        return []
    before, after = by_step[min(by_step)], by_step[max(by_step)]
    return [(_open(before[number]), _open(after[number])) for number in sorted(before.keys() & after.keys())]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _save(drawing: Image.Image, path: Path):
    with write_aside(path) as aside:
        drawing.save(aside, format="PNG")
