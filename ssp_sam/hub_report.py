"""Reads evaluation reports: what was measured, on what, by which command."""
# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.

import json
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METRICS = ("gIoU", "cIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9", "N-acc", "T-acc", "box Acc@0.5")
NOT_MEASURED = "not measured"
NOT_DEFINED = "–"


@dataclass(frozen=True)
class Evaluation:
    """
    One evaluation of one model.

    Args:
        dataset: name of the data, for readers.
        dataset_type: identifier of the data, as in a model index.
        split: part of the data.
        rows: metrics by kind of expression; "all" are all of them. A number is a measurement; `None` says that the
            metric is not defined for this kind. What is missing was not measured.
        settings: the processor's settings at the time.
        command: what repeats the evaluation, where the report tells.
    """

    dataset: str
    dataset_type: str
    split: str | None = None
    rows: dict[str, dict[str, float | None]] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)
    command: str | None = None

    def measured(self) -> dict[str, float]:
        """The metrics over all expressions that are numbers."""
        return {name: value for name, value in self.rows.get("all", {}).items() if value is not None}


def read_report(path: str | os.PathLike) -> Evaluation:
    """
    Reads a report as the evaluation scripts of this project write it.

    Args:
        path: JSON file.

    Returns:
        The evaluation; what is missing from the report, or is no finite number, is missing from it too.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no report.
    """
    with open(path, encoding="utf-8") as file:
        try:
            report = json.load(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r} is no evaluation report: {error}") from error
    if isinstance(report, Mapping) and "num_scenes" in report and isinstance(report.get("metrics"), Mapping):
        return _scenes_evaluation(report)
    raise ValueError(
        f"{os.fspath(path)!r} is no evaluation report: expected what scripts/evaluate_scenes.py --output writes"
    )


def _scenes_evaluation(report: Mapping[str, Any]) -> Evaluation:
    options = {
        "split": report.get("split"),
        "num-scenes": report.get("num_scenes"),
        "expressions-per-scene": report.get("expressions_per_scene"),
        "first-seed": report.get("first_seed"),
    }
    command = None
    if report.get("model") and None not in options.values():
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = shlex.join(["python", "scripts/evaluate_scenes.py", str(report["model"]), *words])
    return Evaluation(
        dataset="generated scenes",
        dataset_type="ssp-sam-scenes",
        split=report.get("split"),
        rows={str(kind): _numbers(row) for kind, row in report["metrics"].items() if isinstance(row, Mapping)},
        settings={name: value for name, value in _numbers(report.get("settings", {})).items() if value is not None},
        command=command,
    )


def _numbers(row: Any) -> dict[str, float | None]:
    """Entries that are finite numbers or `None`; anything else counts as not measured."""
    if not isinstance(row, Mapping):
        return {}
    return {
        str(name): value
        for name, value in row.items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))
    }
