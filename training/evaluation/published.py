# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What papers report for a benchmark, beside what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PUBLISHED_RESULTS = Path(__file__).with_name("published_results.yaml")


def compare_with_published(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Returns the published figures for what a report measures, none where none is known for the benchmark and split:
    `method`, `source`, `protocol`, `metric`, `published` and `measured` in percent, and `difference`, in points; the
    last two are `None` where the report lacks the metric.
    """
    dataset, rows = report["dataset"], []
    for benchmark in yaml.safe_load(PUBLISHED_RESULTS.read_text(encoding="utf-8")).values():
        if not set(dataset["sources"]) <= set(benchmark["sources"]):
            continue
        for entry in benchmark["results"]:
            protocol = entry.get("protocol", "standard")
            for metric, published in entry.get(dataset["split"], {}).items():
                value = report["protocols"][protocol]["all"].get(metric)
                measured = None if value is None else round(100 * value, 2)
                rows.append(
                    {
                        "method": entry["method"],
                        "source": entry["source"],
                        "protocol": protocol,
                        "metric": metric,
                        "published": published,
                        "measured": measured,
                        "difference": None if measured is None else round(measured - published, 2),
                    }
                )
    return rows


def published_table(rows: list[dict[str, Any]]) -> str:
    """Formats the rows of `compare_with_published` as a Markdown table; a dash where something is not measured."""
    lines = ["| method | metric | protocol | published | measured | difference | source |", "|---" * 7 + "|"]
    for row in rows:
        measured = "–" if row["measured"] is None else f"{row['measured']:.2f}"
        difference = "–" if row["difference"] is None else f"{row['difference']:+.2f}"
        cells = [row["method"], row["metric"], row["protocol"], f"{row['published']:g}", measured, difference]
        lines.append(f"| {' | '.join([*cells, row['source']])} |")
    return "\n".join(lines)
