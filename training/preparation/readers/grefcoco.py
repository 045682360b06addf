# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads gRefCOCO: expressions that mean one object, several, or none.

A folder `grefcoco` holds `grefs(unc).json` and `instances.json`. In the refs, `ann_id` and `category_id` are lists;
`[-1]` means that nothing is meant. Regions of many objects are left out beside single objects, as gRefCOCO's own tools
leave them out.

Source: https://github.com/henghuiding/gRefCOCO
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .coco import read_instances
from .records import RawBenchmark
from .refer import find_folder, find_refs, hashable, load_refs, references_of

SPLIT_BY = ("unc",)


def read_grefcoco(folder: Path, split_by: str = "unc", splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens gRefCOCO.

    Args:
        folder: Its folder, or the folder that it lies in.
        split_by: Who divided it into splits.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: A file is missing or damaged.
    """
    folder = find_folder(folder, "grefcoco")
    refs_path = find_refs(folder, f"grefs({split_by})")
    refs = load_refs(refs_path)
    needed = {ann_id for ref in refs if isinstance(ref, dict) for ann_id in hashable(ref.get("ann_id"))}
    instances = read_instances(folder / "instances.json", needed - {-1})
    notes: Counter = Counter()
    return RawBenchmark(
        name=f"grefcoco_{split_by}",
        references=references_of(
            refs,
            instances,
            source=f"grefcoco_{split_by}",
            origin=refs_path.name,
            splits=splits,
            notes=notes,
            drop_crowds=True,
        ),
        files=[refs_path, folder / "instances.json"],
        total=len(refs),
        notes=notes,
    )
