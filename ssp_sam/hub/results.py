# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads evaluation reports: what was measured, on what, by which command."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..training.evaluation.metrics import FAMILIES
from ..training.evaluation.report import FORMAT, metric_names

# The breakdowns that make a table, the most telling first.
BREAKDOWNS = ("kind", "targets")
SCENES_TYPE = "ssp-sam-scenes"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one model."""

    dataset: str  # name of the data, for readers
    dataset_type: str  # identifier of the data, as in a model index
    split: str | None = None  # part of the data
    fingerprint: str | None = None  # of the expressions that were evaluated and their truth, where the report tells
    # Family of metrics, "res", "gres" or "phrasecut", which also says which there are; `None` if not told
    family: str | None = "gres"
    breakdown: str = "kind"  # what `rows` are, such as "kind" of expression
    # Metrics by group, at image resolution; "all" are all expressions. A number is a measurement; `None` says that the
    # metric is not defined for this group. What is missing was not measured.
    rows: dict[str, dict[str, float | None]] = field(default_factory=dict)
    # Metrics over all expressions by the original protocol, where it was measured
    original: dict[str, float | None] = field(default_factory=dict)
    # The processor's settings at the time, as far as they decide what is measured
    settings: dict[str, float] = field(default_factory=dict)
    command: str | None = None  # what repeats the evaluation, where the report tells
    weights_sha256: str | None = None  # digest of the weights that were measured, where the report tells

    @property
    def metrics(self) -> list[str]:
        """The metrics of the family, in the order of a table."""
        return [] if self.family is None else metric_names(self.family)

    def measured(self) -> dict[str, float]:
        """The family's metrics over all expressions that are numbers."""
        overall = self.rows.get("all", {})
        return {name: value for name in self.metrics if (value := overall.get(name)) is not None}


def read_report(path: str | os.PathLike) -> Evaluation:
    """
    Reads `report.json` of `ssp-sam evaluate`; what is missing from it, or is no finite number, is missing from the
    evaluation.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no report.
    """
    with open(path, encoding="utf-8") as file:
        try:
            report = json.load(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r} is no evaluation report: {error}") from error
    if not isinstance(report, Mapping) or report.get("format") != FORMAT:
        raise ValueError(
            f"{os.fspath(path)!r} is no evaluation report: expected report.json of ssp-sam evaluate ({FORMAT!r})"
        )
    dataset, standard = _part(report, "dataset"), _part(report, "protocols", "standard")
    family = _text(_part(report, "settings").get("family"))
    family = family if family in FAMILIES else None
    # A single group would only repeat the row of all expressions.
    several = {name: groups for name in BREAKDOWNS if len(groups := _part(standard, "breakdowns", name)) > 1}
    breakdown, groups = next(iter(several.items()), (BREAKDOWNS[0], {}))
    name = _text(dataset.get("name"))
    return Evaluation(
        dataset=name or "data that is not named",
        dataset_type=SCENES_TYPE if "first_seed" in dataset else _identifier(name),
        split=_text(dataset.get("split")),
        fingerprint=_text(dataset.get("expressions_fingerprint")),
        family=family,
        breakdown=breakdown,
        rows={"all": _numbers(standard.get("all")), **{group: _numbers(row) for group, row in groups.items()}},
        original=_numbers(_part(report, "protocols", "original").get("all")),
        settings=_settings(report, family),
        command=_text(_part(report, "run").get("command")),
        weights_sha256=_text(_part(report, "model").get("weights_sha256")),
    )


def check_weights(evaluation: Evaluation, digests: list[str]):
    """
    Raises a `ValueError` if an evaluation tells its weights and they are none of those whose digests are given, of the
    model that is exported and of its export.
    """
    measured = evaluation.weights_sha256
    if measured is not None and measured not in digests:
        raise ValueError(
            f"the evaluation on {evaluation.dataset} measured weights with SHA-256 {measured}, but those of the model "
            f"have {digests[0]}; evaluate this model again, or export the one that was measured"
        )


def _settings(report: Mapping[str, Any], family: str | None) -> dict[str, float]:
    settings = {name: value for name, value in _numbers(report.get("settings")).items() if value is not None}
    if family != "gres":
        # The other families leave small masks as they are, whatever the processor would do.
        settings.pop("min_mask_pixels", None)
    return settings


def _part(content: Any, *names: str) -> Mapping[str, Any]:
    """What lies at a path of names, if it is a mapping; else an empty one."""
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None
    return content if isinstance(content, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _identifier(name: str | None) -> str:
    return re.sub(r"[^\w.]+", "-", (name or "").lower()).strip("-") or "unknown"


def _numbers(row: Any) -> dict[str, float | None]:
    """Entries that are finite numbers or `None`; anything else counts as not measured."""
    if not isinstance(row, Mapping):
        return {}
    return {
        str(name): value
        for name, value in row.items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value))
    }
