# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepares a benchmark: opens its files, writes its rows, compares its counts with the published ones."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.prepared import REPORT_NAME, dataset_fingerprint
from .held_out import find_held_out, read_visual_genome_to_coco
from .readers.grefcoco import SPLIT_BY as GREFCOCO_SPLIT_BY
from .readers.grefcoco import read_grefcoco
from .readers.hub_mirrors import read_hub_mirror
from .readers.images import PictureFolder
from .readers.original import find_annotations, read_merge, read_original
from .readers.own import read_own_coco, read_own_folder
from .readers.phrasecut import find_image_data, read_phrasecut
from .readers.records import PreparationError, RawBenchmark
from .readers.refer import SPLIT_BY, read_refer
from .report import deviations, make_report, write_card, write_report
from .rows import MaskRule, RowMaker
from .writer import finish, resume, start_processes, write_parts

SPLIT_BYS = {**SPLIT_BY, "grefcoco": GREFCOCO_SPLIT_BY}
BENCHMARKS = (*SPLIT_BYS, "phrasecut", "merge", "original", "hub", "coco", "folder")
ALIASES = {"referit": "refclef", "refcocoplus": "refcoco+", "phrase_cut": "phrasecut"}
FORMAT_VERSION = 1


@dataclass
class PreparationSettings:
    """
    What to prepare, and how.

    Args:
        benchmark: One of `BENCHMARKS` or `ALIASES`.
        annotations: Folder or file of the annotations; for "hub" an id on the Hub, too.
        images: Folder of images; not needed where the annotations hold them.
        masks: Folder of mask files, for "original" and "folder".
        split_by: Who divided the benchmark into splits, the first of `SPLIT_BYS` when not given.
        splits: The splits wanted, all when not given.
        image_bytes: Whether rows hold the pictures themselves rather than their paths.
        mask_rule: How polygons are drawn; see `reference_rows.RowMaker`.
        held_out: Folders of prepared benchmarks whose validation and test pictures are looked for.
        processes: Processes that make rows.
        allow_partial: Whether counts may differ from the published ones.
        skip_bad: Whether records that cannot be used are left out.
    """

    benchmark: str
    annotations: str
    images: str | None = None
    masks: str | None = None
    split_by: str | None = None
    splits: list[str] | None = None
    image_bytes: bool = False
    mask_rule: MaskRule = "coco"
    held_out: list[str] = field(default_factory=list)
    processes: int = 1
    allow_partial: bool = False
    skip_bad: bool = False

    def __post_init__(self):
        self.benchmark = ALIASES.get(self.benchmark, self.benchmark)
        if self.benchmark not in BENCHMARKS:
            known = ", ".join([*BENCHMARKS, *ALIASES])
            raise PreparationError(f"the benchmark must be one of {known}, got {self.benchmark!r}")
        versions = SPLIT_BYS.get(self.benchmark, ())
        if self.split_by is None and versions:
            self.split_by = versions[0]
        if self.split_by is not None and self.split_by not in versions:
            offered = f"one of {', '.join(versions)}" if versions else "left out"
            raise PreparationError(f"--split-by of {self.benchmark} must be {offered}, got {self.split_by!r}")
        if self.processes < 1:
            raise PreparationError(f"--processes must be 1 or more, got {self.processes}")


def prepare(
    settings: PreparationSettings,
    output: str | Path,
    *,
    begin: Callable[[int | None], None] = lambda total: None,
    progress: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """
    Prepares a benchmark; a run that was stopped goes on where it was.

    Args:
        settings: What to prepare.
        output: Folder to make.
        begin: Called before the first row with the number of references, where that is known.
        progress: Called with the number of references that have been dealt with.

    Returns:
        The report, as it is in the folder.

    Raises:
        PreparationError: A file is missing or damaged, a record cannot be used, or counts differ from the published
            ones without `allow_partial`. What is written so far stays beside the output, so that repeating the command
            goes on.
    """
    output = Path(output)
    staging = output.with_name(f"{output.name}.partial")
    if output.exists():
        raise PreparationError(f"the output {str(output)!r} exists already; choose another name or delete it")

    with start_processes(settings.processes) as workers:
        # 1. The files.
        annotations = Path(settings.annotations)
        same_pictures = read_visual_genome_to_coco(_find_image_data(settings))
        held_out = find_held_out(annotations, map(Path, settings.held_out), same_pictures)
        if settings.benchmark == "merge" and not held_out and not settings.allow_partial:
            raise PreparationError(
                "the merge must be cleaned of validation and test pictures, but no benchmark lies beside its file: "
                "name prepared ones by --held-out, or accept that by --allow-partial"
            )
        benchmark = _open(settings, held_out, same_pictures)
        begin(benchmark.total if settings.splits is None else None)

        # 2. The rows.
        resume(staging)
        maker = RowMaker(_images(settings, benchmark), settings.image_bytes, settings.mask_rule)
        plan = _plan(settings, benchmark)
        parts = write_parts(
            benchmark, staging, maker, plan, workers=workers, skip_bad=settings.skip_bad, progress=progress
        )

    # 3. The counts.
    report = make_report(
        benchmark.name,
        parts,
        settings=_told(settings),
        complete=settings.splits is None,
        notes=benchmark.notes,
        held_out=held_out,
        visual_genome_to_coco=same_pictures,
    )
    if not report["counts"]["total"]["references"]:
        raise PreparationError(f"nothing to prepare: {settings.annotations!r} has no reference of the splits wanted")
    report["held_out"] = {
        name: {split: len(keys) for split, keys in of.items()} for name, of in sorted(held_out.items())
    }
    report["visual_genome_compared_with_coco"] = bool(same_pictures)
    wrong = deviations(report, certain=True)
    if wrong and not settings.allow_partial:
        raise PreparationError(
            f"counts differ from the published ones ({'; '.join(wrong)}): files are missing or others than published; "
            f"--splits names the splits you have, --allow-partial accepts the difference"
        )

    # 4. The folder under its own name.
    def complete(folder: Path):
        report["fingerprint"] = dataset_fingerprint(folder)
        write_card(report, folder)
        write_report(report, folder, REPORT_NAME)

    finish(staging, output, complete)
    return report


def _open(settings: PreparationSettings, held_out, same_pictures) -> RawBenchmark:
    place, splits = Path(settings.annotations), settings.splits
    masks = Path(settings.masks) if settings.masks is not None else None
    if settings.benchmark != "hub" and not place.exists():
        raise PreparationError(f"there is no file or folder --annotations {settings.annotations!r}")
    if settings.benchmark in SPLIT_BY:
        return read_refer(place, settings.benchmark, str(settings.split_by), splits)
    if settings.benchmark == "grefcoco":
        return read_grefcoco(place, str(settings.split_by), splits)
    if settings.benchmark == "phrasecut":
        return read_phrasecut(place, splits)
    if settings.benchmark == "merge":
        keys = {key for of_benchmark in held_out.values() for of_split in of_benchmark.values() for key in of_split}
        return read_merge(find_annotations(place), keys, same_pictures, splits)
    if settings.benchmark == "original":
        return read_original(find_annotations(place), masks, splits)
    if settings.benchmark == "hub":
        return read_hub_mirror(settings.annotations, splits)
    if settings.benchmark == "coco":
        return read_own_coco(place, splits)
    return read_own_folder(place, masks, splits)


def _images(settings: PreparationSettings, benchmark: RawBenchmark) -> PictureFolder | None:
    images = settings.images
    if images is None and settings.benchmark in ("folder", "coco"):
        place = Path(settings.annotations)
        images = str(place if place.is_dir() else place.parent)
    if images is None and benchmark.large_pictures:
        return None
    if images is None:
        raise PreparationError(f"{benchmark.name} needs its pictures: name their folder by --images")
    return PictureFolder(images)


def _find_image_data(settings: PreparationSettings) -> Path | None:
    """Visual Genome's description of its pictures, in the folder of the annotations or of the images."""
    place = Path(settings.annotations)
    folders = [place if place.is_dir() else place.parent] + ([Path(settings.images)] if settings.images else [])
    found = (find_image_data(folder) for folder in folders)
    return next((path for path in found if path is not None), None)


def _told(settings: PreparationSettings) -> dict[str, Any]:
    """The settings that a report tells; how many processes worked changes nothing."""
    told = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "processes"}
    return {**told, "format_version": FORMAT_VERSION}


def _plan(settings: PreparationSettings, benchmark: RawBenchmark) -> dict[str, Any]:
    """What the rows depend on."""
    told = _told(settings)
    for name in ("allow_partial", "skip_bad"):
        told.pop(name)
    files = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in benchmark.files]
    images = os.path.realpath(settings.images) if settings.images else None
    return {**told, "images": images, "annotation files": files}
