# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a preparation found: counts against the published ones, images in two splits, labels that look wrong."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.info import DatasetInfo, DatasetInfosDict
from huggingface_hub import DatasetCardData

from ..data.prepared import FEATURES, split_role
from .plausibility import EMPTY, KINDS, TOUCHES_BORDER
from .published_counts import TOTAL, compare
from .readers.images import shared_image_name
from .readers.records import RawBenchmark
from .settings import PreparationSettings
from .writer import PartCounts

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
MAX_SHOWN = 5  # bad records that the terminal shows
MAX_NAMED = 20  # bad records that a report names, and images in two splits
ROLES = ("train", "validation", "test", None)  # the order of splits


def make_report(
    benchmark: RawBenchmark,
    parts: Mapping[str, list[PartCounts]],
    settings: PreparationSettings,
    held_out: Mapping[str, Mapping[str, set[str]]],
    visual_genome_to_coco: dict[str, str],
) -> dict[str, Any]:
    """
    Returns the report, ready for JSON: of what was read, with the notes of its reader, of what `writer.write_parts`
    counted, and of the images that others hold out, from `held_out.find_held_out`.
    """
    name, notes, bad = benchmark.name, Counter(benchmark.notes), []
    images: dict[str, dict[str, str]] = {}
    suspicious: dict[str, dict[str, list[str]]] = {}
    counts: dict[str, dict[str, int]] = {}
    for split, of_split in sorted(parts.items(), key=lambda item: (ROLES.index(split_role(item[0])), item[0])):
        images[split] = {image: digest for part in of_split for image, digest in part.images.items()}
        suspicious[split] = {ref_id: reasons for part in of_split for ref_id, reasons in part.suspicious.items()}
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
        for key in {split, TOTAL} & set(as_published):
            as_published[key]["expressions"] += empty
    border = notes.pop(TOUCHES_BORDER, 0)
    return {
        "benchmark": name,
        "format": benchmark.format,
        "counts": counts,
        "published": compare(name, as_published, complete=settings.splits is None),
        "overlaps": _overlaps(name, images, held_out, visual_genome_to_coco),
        "copies": _copies(images),
        "plausibility": _plausibility(suspicious, border),
        "notes": {key: notes[key] for key in sorted(notes) if notes[key]},
        "bad_records": {"skipped": len(bad), "first": bad[:MAX_NAMED]},
        "settings": settings.told(),
        "held_out": {key: {split: len(of[split]) for split in of} for key, of in sorted(held_out.items())},
        "visual_genome_compared_with_coco": bool(visual_genome_to_coco),
    }


def _overlaps(name, images, held_out, visual_genome_to_coco) -> list[dict[str, Any]]:
    """Images that two splits of this benchmark share, and those that its training shares with others' held-out ones."""
    names = {
        split: {shared_image_name(name, number, visual_genome_to_coco): number for number in of_split}
        for split, of_split in images.items()
    }
    pairs = [(split, name, other, names[other]) for split, other in itertools.combinations(names, 2)]
    for benchmark, splits in held_out.items():
        if benchmark != name:
            training = [split for split in names if split_role(split) == "train"]
            pairs += [(split, benchmark, other, of_other) for split in training for other, of_other in splits.items()]
    found = []
    for split, benchmark, other, of_other in pairs:
        shared = sorted(number for key, number in names[split].items() if key in of_other)
        if shared:
            found.append(
                {"split": split, "benchmark": benchmark, "other_split": other, "images": len(shared)}
                | {"first": shared[:MAX_NAMED]}
            )
    return found


def _copies(images: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Images of different ids whose files are the same, byte for byte."""
    by_digest: dict[str, dict[str, set[str]]] = {}
    for split, of_split in images.items():
        for image, digest in of_split.items():
            if digest:
                by_digest.setdefault(digest, {}).setdefault(image, set()).add(split)
    return [
        {"images": sorted(named), "splits": sorted(set().union(*named.values()))}
        for named in by_digest.values()
        if len(named) > 1
    ]


def _plausibility(suspicious: Mapping[str, Mapping[str, Sequence[str]]], border: int) -> dict[str, Any]:
    reasons = Counter(
        reason for of_split in suspicious.values() for of_reference in of_split.values() for reason in of_reference
    )
    return {
        "suspicious": {kind: reasons[kind] for kind in KINDS if reasons[kind]},
        TOUCHES_BORDER: border,
        "references": {split: of_split for split, of_split in suspicious.items() if of_split},
    }


def deviations(report: Mapping[str, Any], certain: bool) -> list[str]:
    """Returns the published counts that were not met, both numbers in words."""
    return [item["deviation"] for item in report["published"] if item["deviation"] and item["certain"] is certain]


def empty_targets(report: Mapping[str, Any]) -> list[str]:
    """Returns the references whose masks have no pixel although something is meant, as "split ref_id"."""
    references = report["plausibility"]["references"]
    return [
        f"{split} {ref_id}"
        for split, of_split in references.items()
        for ref_id, reasons in of_split.items()
        if EMPTY in reasons
    ]


def describe(report: Mapping[str, Any]) -> str:
    """Returns the report as text for the terminal."""
    names = [
        what for what in COUNTED if what in ("images", "references", "expressions") or report["counts"][TOTAL][what]
    ]
    titles = ["split", *(what.replace("_", " ") for what in names)]
    rows = [[split, *(f"{numbers[what]:,}" for what in names)] for split, numbers in report["counts"].items()]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    lines = [f"format: {report['format']}"] if report["format"] else []
    lines += [
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
        other = f"{item['benchmark']} {item['other_split']}"
        lines.append(
            f"in two splits: {item['images']:,} of the images of {item['split']} are in {other}, too, such as "
            f"{item['first'][0]}"
        )
    return "\n".join([*lines, *_describe_labels(report)])


def _describe_labels(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for item in report["copies"][:1]:
        more = f" ({len(report['copies'])} such)" if len(report["copies"]) > 1 else ""
        across = ", in different splits" if any(len(copy["splits"]) > 1 for copy in report["copies"]) else ""
        lines.append(f"the same file under several names{across}: {' and '.join(item['images'][:2])}{more}")
    plausibility = report["plausibility"]
    lines += [f"suspicious: {kind}: {number:,}" for kind, number in plausibility["suspicious"].items()]
    if plausibility["suspicious"]:
        lines.append("ssp-sam show-data --suspicious draws them")
    masks = report["counts"][TOTAL]["masks"]
    if masks:
        lines.append(f"targets that touch the border of their image: {plausibility[TOUCHES_BORDER]:,}")
    lines += [f"{key.replace('_', ' ')}: {number:,}" for key, number in report["notes"].items()]
    if report["bad_records"]["skipped"]:
        lines.append(f"records left out: {report['bad_records']['skipped']:,}")
        lines += [f"  {reason}" for reason in report["bad_records"]["first"][:MAX_SHOWN]]
    return lines


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

One row is one reference: what is meant in an image, and the sentences that mean it. Masks are COCO run lengths.

| split | images | references | expressions |
|---|---:|---:|---:|
{rows}

`report.json` says how these counts compare with the published ones, which labels look wrong, and with which settings
they were made. The licences of images and annotations are those of their sources; the column `licence` names them as
far as they are known.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
