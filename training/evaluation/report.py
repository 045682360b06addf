# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The report of an evaluation: one dictionary, as JSON for programs and as Markdown for readers."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..atomic_files import write_text
from ..scenes.expressions import KINDS
from .metrics import FAMILIES
from .options import REPORT
from .published import compare_with_published, published_table

FORMAT = "ssp-sam evaluation, version 1"
NOT_MEASURED = "not measured"
# How groups are ordered; those of other breakdowns go by their number of expressions.
GROUP_ORDER = {
    "kind": KINDS,
    "targets": ("none", "single", "multi", "many"),
    "size": ("small", "mid", "large"),
}
MAX_GROUPS = 20


def choose_family(sources: Iterable[str], has_no_target: bool) -> str:
    """Returns the metrics that a benchmark is reported in: PhraseCut's own, GRES, or RES where everything is there."""
    names = [source.lower().replace("_", "").replace("-", "") for source in sources]
    if names and all(name.startswith("phrasecut") for name in names):
        return "phrasecut"
    return "gres" if has_no_target or any(name.startswith("gref") for name in names) else "res"


def model_identity(name: str, model) -> dict[str, Any]:
    """
    Returns what makes a model out: its name, size, dtype, Hub commit, and for a folder a digest of its weights.

    Args:
        name: Folder or Hub id it was loaded from.
        model: The loaded `SspSamModel`.
    """
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return {
        "name": Path(name).resolve().name if files else name,
        "type": model.config.model_type,
        "parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "commit": getattr(model.config, "_commit_hash", None),
        "weights_sha256": digest.hexdigest() if files else None,
    }


def build_report(
    accumulator,
    *,
    dataset: Mapping[str, Any],
    model: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    run: Mapping[str, Any],
    published: bool = False,
) -> dict[str, Any]:
    """
    Returns the report as a dictionary; `docs/evaluation.md` lists its fields.

    Args:
        accumulator: The sums of all processes, an `EvaluationAccumulator`.
        model: `model_identity`, `None` where predictions of an unknown model were read.
        run: How, when and how fast this evaluation ran; the only part that differs between equal evaluations.
        published: Whether figures of papers are added, in `published`.
    """
    protocols = accumulator.results()
    for protocol in protocols.values():
        protocol["breakdowns"] = {
            name: dict(sorted(groups.items(), key=lambda item, name=name: _group_order(name, *item)))
            for name, groups in protocol["breakdowns"].items()
        }
    overall = protocols["standard"]["all"]
    counts = {name: overall.get(name, 0) for name in ("samples", "targeted", "no_target", "missing")}
    counts = {
        "images": dataset["images"],
        "references": dataset["references"],
        "expressions": counts.pop("samples"),
    } | counts
    fingerprint = f"{accumulator.fingerprint:064x}"[:16]
    report = {
        "format": FORMAT,
        "dataset": {**dataset, "expressions_fingerprint": fingerprint},
        "model": model,
        "settings": {"family": accumulator.family, **settings},
        "counts": counts,
        "protocols": protocols,
        "run": dict(run),
    }
    if published:
        report["published"] = compare_with_published(report)
    return report


def markdown_report(report: Mapping[str, Any], sheet: str | None = None) -> str:
    """
    Returns a report of `build_report` as Markdown, with the contact sheet of that name beside it, if there is one.
    """
    dataset, counts, protocols = report["dataset"], report["counts"], report["protocols"]
    columns = metric_names(report["settings"]["family"])
    lines = [f"# {dataset['name']}, {dataset['split']}", ""]
    lines += _facts(report)
    lines += [
        "",
        "## Metrics",
        "",
        f"{counts['expressions']} expressions, family {report['settings']['family']!r}.",
        "",
    ]
    lines += [markdown_table({name: protocol["all"] for name, protocol in protocols.items()}, columns, "protocol")]
    lines += ["", *(_protocol_line(protocol["settings"]) for protocol in protocols.values())]
    error = protocols["standard"]["score_error"]
    if error is not None:
        lines += ["", f"Expected calibration error of the scores (standard protocol): {error:.3f}."]
    if "published" in report:
        lines += ["", "## Published results", "", published_section(report)]
    for breakdown in protocols["standard"]["breakdowns"]:
        lines += ["", f"## By {breakdown}", ""]
        for name, protocol in protocols.items():
            groups = protocol["breakdowns"][breakdown]
            shown = dict(list(groups.items())[:MAX_GROUPS])
            more = f", the {len(shown)} most frequent of {len(groups)}" if len(shown) < len(groups) else ""
            lines += [f"{name}{more}:", "", markdown_table(shown, columns, breakdown), ""]
        lines.pop()
    if sheet is not None:
        lines += ["", "## Cases", "", f"![best, median and worst cases]({sheet})"]
    return "\n".join(lines) + "\n"


def published_section(report: Mapping[str, Any]) -> str:
    """Returns what papers report beside what was measured, in percent and points, or that nothing is known."""
    if report["published"]:
        return published_table(report["published"])
    return f"No published figures are known for {report['dataset']['name']}, split {report['dataset']['split']!r}."


def metric_names(family: str) -> list[str]:
    """Returns the metrics of a family in the order of a table."""
    mean, overall, thresholds, knows_no_target = FAMILIES[family]
    accuracies = ["N-acc", "T-acc"] if knows_no_target else []
    return [mean, overall, *(f"Pr@{threshold}" for threshold in thresholds), *accuracies, "box Acc@0.5"]


def markdown_table(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Iterable[str],
    label: str,
    escape: Callable[[str], str] | None = None,
) -> str:
    """
    Formats metrics by name as a Markdown table, in percent-free decimals: a dash where nothing was counted, and words
    where something was not measured.
    """
    columns = list(columns)
    lines = [f"| {label} | expressions | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, row in rows.items():
        count = row["samples"] if isinstance(row.get("samples"), int) else "not stated"
        values = [row.get(column, NOT_MEASURED) for column in columns]
        cells = [value if value == NOT_MEASURED else "–" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {(escape or _cell)(name)} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_report(report: Mapping[str, Any], folder: Path, sheet: str | None = None):
    """Writes `report.md` and, last, `report.json` into a folder; `sheet` as in `markdown_report`."""
    write_text(folder / "report.md", markdown_report(report, sheet))
    write_text(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _facts(report: Mapping[str, Any]) -> list[str]:
    """The head of the report: what was measured on what, and how."""
    dataset, model, counts, run = report["dataset"], report["model"], report["counts"], report["run"]
    sources = f", from {', '.join(dataset['sources'])}" if dataset["sources"] != [dataset["name"]] else ""
    whole = dataset.get("fingerprint")
    fingerprint = f"{whole} (whole benchmark), " if whole else ""
    rows = {
        "Data": f"{dataset['name']}, split {dataset['split']!r}{sources}",
        "Fingerprint": f"{fingerprint}{dataset['expressions_fingerprint']} (expressions and truth evaluated)",
        "Counts": f"{counts['images']} images, {counts['references']} references, {counts['expressions']} expressions: "
        f"{counts['targeted']} with a target, {counts['no_target']} without, {counts['missing']} not predicted",
        "Model": "not known; predictions were read from a file",
    }
    if model is not None:
        weights = f", weights sha256 {model['weights_sha256'][:16]}" if model.get("weights_sha256") else ""
        commit = f", commit {model['commit']}" if model.get("commit") else ""
        rows["Model"] = f"{model['name']} ({model['parameters']:,} parameters, {model['dtype']}{weights}{commit})"
    settings = [f"{name} {value}" for name, value in report["settings"].items() if value is not None]
    rows["Settings"] = ", ".join(settings)
    if dataset.get("images_in_other_splits"):
        shared = [f"{count} in {split!r}" for split, count in dataset["images_in_other_splits"].items()]
        rows["Images that are in other splits, too"] = ", ".join(shared)
    rows["Run"] = ", ".join(f"{name} {value}" for name, value in run.items() if not isinstance(value, dict))
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())]


def _protocol_line(settings: Mapping[str, Any]) -> str:
    threshold = settings["mask_threshold"]
    inside = "masks as they were given" if threshold is None else f"pixels inside from a probability of {threshold}"
    empty = "no rule for small masks"
    if settings["min_mask_pixels"] > 1:
        where = "all expressions" if settings["small_masks_rule"] == "all" else "expressions without a target"
        empty = f"masks of fewer than {settings['min_mask_pixels']} such pixels count as empty for {where}"
    least = settings["min_mask_pixels"]
    return f"- **{settings['name']}**: in {settings['pixel_space']}; {inside}; min_mask_pixels {least}: {empty}."


def _group_order(breakdown: str, group: str, row: Mapping[str, Any]) -> tuple:
    order = GROUP_ORDER.get(breakdown, ())
    return (order.index(group), 0, group) if group in order else (len(order), -row["samples"], group)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
