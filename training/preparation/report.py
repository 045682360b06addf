# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a preparation found: counts against the published ones, pictures in two splits, what was left out."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.info import DatasetInfo, DatasetInfosDict
from huggingface_hub import DatasetCardData

from ..data.prepared import FEATURES
from .held_out import is_held_out, picture_key
from .published_counts import TOTAL, compare
from .writer import MAX_NAMED, PartCounts

COUNTED = (
    "images",
    "references",
    "expressions",
    "masks",
    "no_target_references",
    "no_target_expressions",
    "multi_target_references",
    "multi_target_expressions",
)


def make_report(
    name: str,
    parts: Mapping[str, list[PartCounts]],
    *,
    settings: dict[str, Any],
    complete: bool,
    notes: Counter,
    held_out: Mapping[str, Mapping[str, set[str]]],
    visual_genome_to_coco: dict[str, str],
) -> dict[str, Any]:
    """
    Returns the report, ready for JSON.

    Args:
        name: Benchmark and version.
        parts: What `prepared_writer.write_parts` counted.
        settings: What was asked for.
        complete: Whether all splits were asked for.
        notes: What the reader left out.
        held_out: Pictures held out by other benchmarks, from `picture_identity.find_held_out`.
        visual_genome_to_coco: See `picture_identity.picture_key`.
    """
    notes, images, bad = Counter(notes), {}, []
    counts: dict[str, dict[str, int]] = {}
    for split, of_split in sorted(parts.items(), key=lambda item: _place_of(item[0])):
        images[split] = {number for part in of_split for number in part.image_ids}
        counts[split] = {what: sum(getattr(part, what) for part in of_split) for what in COUNTED[1:]}
        counts[split] = {"images": len(images[split]), **counts[split]}
        for part in of_split:
            notes.update(part.notes)
            bad += part.bad
    counts = {split: numbers for split, numbers in counts.items() if numbers["references"]}
    total = {what: sum(numbers[what] for numbers in counts.values()) for what in COUNTED[1:]}
    counts[TOTAL] = {"images": len(set().union(*images.values())) if images else 0, **total}
    # A sentence without words is no expression here, but it was one when the authors counted.
    as_published = {split: dict(numbers) for split, numbers in counts.items()}
    for split, of_split in parts.items():
        empty = sum(part.notes.get("empty_expressions", 0) for part in of_split)
        for key in (split, TOTAL):
            if key in as_published:
                as_published[key]["expressions"] += empty
    return {
        "benchmark": name,
        "counts": counts,
        "published": compare(name, as_published, complete),
        "overlaps": _overlaps(name, images, held_out, visual_genome_to_coco),
        "notes": {key: notes[key] for key in sorted(notes) if notes[key]},
        "bad_records": {"skipped": len(bad), "first": bad[:MAX_NAMED]},
        "settings": settings,
    }


def _place_of(split: str) -> tuple[int, str]:
    """Training first, then validation, then the others by name."""
    return next((place for place, name in enumerate(("train", "val")) if split == name), 2), split


def _overlaps(name, images, held_out, visual_genome_to_coco) -> list[dict[str, Any]]:
    """Pictures that training shares with validation and test splits, of this benchmark and of others."""
    keys = {split: {picture_key(name, number, visual_genome_to_coco) for number in of} for split, of in images.items()}
    training = set().union(*(of_split for split, of_split in keys.items() if not is_held_out(split)))
    found = [(name, split, of_split & training) for split, of_split in keys.items() if is_held_out(split)]
    for benchmark, splits in held_out.items():
        if benchmark != name:
            found += [(benchmark, split, of_split & training) for split, of_split in splits.items()]
    return [
        {"benchmark": benchmark, "split": split, "images": len(shared)} for benchmark, split, shared in found if shared
    ]


def deviations(report: Mapping[str, Any], certain: bool) -> list[str]:
    """Returns the published counts that were not met, both numbers in words."""
    return [item["deviation"] for item in report["published"] if item["deviation"] and item["certain"] is certain]


def describe(report: Mapping[str, Any]) -> str:
    """Returns the report as text for the terminal."""
    names = [
        what for what in COUNTED if what in ("images", "references", "expressions") or report["counts"][TOTAL][what]
    ]
    titles = ["split", *(what.replace("_", " ") for what in names)]
    rows = [[split, *(f"{numbers[what]:,}" for what in names)] for split, numbers in report["counts"].items()]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        )
        for row in [titles, *rows]
    ]
    met = sum(item["deviation"] is None for item in report["published"])
    if report["published"]:
        lines.append(f"published counts met: {met} of {len(report['published'])}")
    lines += [f"differs from the published count: {text}" for text in deviations(report, certain=True)]
    lines += [f"differs from a count of memory: {text}" for text in deviations(report, certain=False)]
    for item in report["overlaps"]:
        lines.append(f"{item['images']:,} training pictures are also in {item['benchmark']} {item['split']}")
    lines += [f"{key.replace('_', ' ')}: {number:,}" for key, number in report["notes"].items()]
    if report["bad_records"]["skipped"]:
        lines.append(
            f"records left out: {report['bad_records']['skipped']:,}, the first: {report['bad_records']['first'][0]}"
        )
    return "\n".join(lines)


def write_report(report: Mapping[str, Any], folder: Path, name: str):
    """Writes the report as JSON into a folder."""
    text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def write_card(report: Mapping[str, Any], folder: Path):
    """Writes the dataset card, from which `datasets.load_dataset(folder)` knows splits and columns."""
    splits = [split for split in report["counts"] if split != TOTAL]
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    header = DatasetCardData(pretty_name=report["benchmark"], task_categories=["image-segmentation"])
    DatasetInfosDict({"default": DatasetInfo(features=FEATURES)}).to_dataset_card_data(header)
    header["configs"] = [{"config_name": "default", "data_files": files}]
    rows = "\n".join(
        f"| {split} | {numbers['images']:,} | {numbers['references']:,} | {numbers['expressions']:,} |"
        for split, numbers in report["counts"].items()
    )
    text = f"""---
{header}
---
# {report["benchmark"]}, prepared for referring segmentation

One row is one reference: what is meant in a picture, and the sentences that mean it. Masks are COCO run lengths.

| split | images | references | expressions |
|---|---:|---:|---:|
{rows}

`report.json` says how these counts compare with the published ones, and with which settings they were made. The
licences of pictures and annotations are those of their sources; the column `licence` names them as far as they are
known.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
