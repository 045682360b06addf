# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepares a benchmark: opens its files, writes its rows, compares its counts with the published ones."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..atomic_files import FolderInUseError, claim_folder
from ..data.prepared import REPORT_NAME, dataset_fingerprint
from .held_out import find_held_out, read_visual_genome_to_coco
from .published_counts import TOTAL
from .readers.custom.formats import FORMATS, open_custom
from .readers.custom.metadata import NAMED_BY_COLUMNS
from .readers.hub_mirrors import read_hub_mirror
from .readers.images import ImageFolder
from .readers.original import fetch_annotations, find_annotations, read_merge, read_original
from .readers.phrasecut import find_image_data, read_phrasecut
from .readers.records import PreparationError, RawBenchmark
from .readers.refer import SPLIT_BY, read_refer
from .report import deviations, empty_targets, make_report, write_card, write_report
from .rows import MaskRule, RowMaker
from .writer import finish, start_processes, write_parts

BENCHMARKS = (*SPLIT_BY, "phrasecut", "merge", "original", "hub", "custom", *FORMATS)
ALIASES = {"referit": "refclef", "refcocoplus": "refcoco+", "phrase_cut": "phrasecut", "own": "custom"}
ALIASES |= {"folder": "metadata"}
FORMAT_VERSION = 2
EMPTY_FRACTION = 0.01  # of the targets, which may have no pixel without being allowed to
# Settings that change no row.
WITHOUT_EFFECT = ("processes", "allow_partial", "skip_bad", "allow_empty_targets")


@dataclass
class PreparationSettings:
    """
    What to prepare, and how.

    Args:
        benchmark: One of `BENCHMARKS` or `ALIASES`; the name of a format is "custom" in that format.
        annotations: Folder or file of the annotations; for "hub" an id on the Hub, too, and with `from_hub` the name of
            the file wanted.
        images: Folder of images; not needed where the annotations hold them.
        masks: Folder of mask files, for "original" and "custom".
        format: Of "custom", one of `custom.formats.FORMATS`; found by what lies in the folder when not given.
        made_expressions: Whether "custom" makes sentences of classes where it has none.
        columns: Of a table of "custom", by the names that are used here.
        coco_annotations: COCO's `instances_train2014.json`, from which the masks of "original" are drawn.
        from_hub: Repository of the Hub with the annotation files of "original".
        split_by: Who divided the benchmark into splits, the first of `SPLIT_BY` when not given.
        splits: The splits wanted, all when not given.
        image_bytes: Whether rows hold the images themselves rather than their paths.
        mask_rule: How polygons are drawn; see `rows.RowMaker`.
        held_out: Folders of prepared benchmarks whose validation and test images are looked for.
        processes: Processes that make rows.
        decode_check: Whether every image is decoded, so that damaged ones are found.
        allow_partial: Whether counts may differ from the published ones.
        allow_empty_targets: How many targets may have no pixel, a hundredth of all when not given.
        skip_bad: Whether records that cannot be used are left out.
    """

    benchmark: str
    annotations: str
    images: str | None = None
    masks: str | None = None
    format: str | None = None
    made_expressions: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    coco_annotations: str | None = None
    from_hub: str | None = None
    split_by: str | None = None
    splits: list[str] | None = None
    image_bytes: bool = False
    mask_rule: MaskRule = "coco"
    held_out: list[str] = field(default_factory=list)
    processes: int = 1
    decode_check: bool = True
    allow_partial: bool = False
    allow_empty_targets: int | None = None
    skip_bad: bool = False

    def __post_init__(self):
        self.benchmark = ALIASES.get(self.benchmark, self.benchmark)
        if self.benchmark not in BENCHMARKS:
            known = ", ".join([*BENCHMARKS, *ALIASES])
            raise PreparationError(f"the benchmark must be one of {known}, got {self.benchmark!r}")
        if self.benchmark in FORMATS:
            self.format, self.benchmark = self.benchmark, "custom"
        if self.format is not None and (self.benchmark != "custom" or self.format not in FORMATS):
            known = f"must be one of {', '.join(FORMATS)}" if self.benchmark == "custom" else "belongs to custom"
            raise PreparationError(f"format {known}, got {self.format!r}")
        unknown = [name for name in self.columns if name not in NAMED_BY_COLUMNS]
        if unknown:
            raise PreparationError(f"columns are those of {', '.join(NAMED_BY_COLUMNS)}, got {unknown[0]!r}")
        versions = SPLIT_BY.get(self.benchmark, ())
        if self.split_by is None and versions:
            self.split_by = versions[0]
        if self.split_by is not None and self.split_by not in versions:
            offered = f"one of {', '.join(versions)}" if versions else "left out"
            raise PreparationError(f"split_by of {self.benchmark} must be {offered}, got {self.split_by!r}")
        for name, benchmarks in (("from_hub", ("original", "merge")), ("coco_annotations", ("original",))):
            if getattr(self, name) is not None and self.benchmark not in benchmarks:
                raise PreparationError(f"{name} belongs to {' or '.join(benchmarks)}, got {self.benchmark!r}")
        if self.processes < 1:
            raise PreparationError(f"processes must be 1 or more, got {self.processes}")
        if self.allow_empty_targets is not None and self.allow_empty_targets < 0:
            raise PreparationError(f"allow_empty_targets must be 0 or more, got {self.allow_empty_targets}")

    def told(self) -> dict[str, Any]:
        """Returns the settings as a report tells them; how many processes worked changes nothing."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "processes"}
        return {**told, "format_version": FORMAT_VERSION}


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
        PreparationError: A file is missing or damaged, a record cannot be used, counts differ from the published ones,
            labels cannot be right, or another process is preparing the same. What is written so far stays beside the
            output, so that repeating the command goes on.
    """
    output = Path(output)
    staging = output.with_name(f"{output.name}.partial")
    _check_output(output)
    try:
        with start_processes(settings.processes) as workers, _claimed(staging):
            _check_output(output)
            # 1. The files.
            annotations = _find_annotations(settings)
            same_images = read_visual_genome_to_coco(_find_image_data(settings, annotations))
            held_out = find_held_out(annotations, map(Path, settings.held_out), same_images)
            benchmark = _open(settings, annotations, held_out, same_images)
            begin(benchmark.total if settings.splits is None else None)

            # 2. The rows.
            maker = RowMaker(
                _image_folder(settings, benchmark), settings.image_bytes, settings.mask_rule, settings.decode_check
            )
            options = {"workers": workers, "skip_bad": settings.skip_bad, "progress": progress}
            parts = write_parts(benchmark, staging, maker, _plan(settings, benchmark), **options)

            # 3. The counts.
            report = make_report(
                benchmark.name,
                parts,
                settings=settings.told(),
                complete=settings.splits is None,
                notes=benchmark.notes,
                held_out=held_out,
                visual_genome_to_coco=same_images,
            )
            report["format"] = benchmark.format
            report["held_out"] = {
                name: {split: len(names) for split, names in of.items()} for name, of in sorted(held_out.items())
            }
            report["visual_genome_compared_with_coco"] = bool(same_images)
            _check_report(report, settings)

            # 4. The folder under its own name.
            def complete(folder: Path):
                report["fingerprint"] = dataset_fingerprint(folder)
                write_card(report, folder)
                write_report(report, folder, REPORT_NAME)

            finish(staging, output, complete)
    except FolderInUseError as error:
        raise PreparationError(str(error)) from error
    except OSError as error:  # a full disk, above all
        name = str(error.filename or output)
        raise PreparationError(f"cannot read or write {name!r} ({error.strerror or error})") from error
    return report


@contextmanager
def _claimed(staging: Path) -> Iterator[None]:
    """Keeps other processes from the folder of unfinished work, and removes it where nothing was written into it."""
    try:
        with claim_folder(staging):
            yield
    finally:
        with suppress(OSError):
            staging.rmdir()


def _check_output(output: Path):
    if output.exists():
        raise PreparationError(f"the output {str(output)!r} exists already; choose another name or delete it")


def _check_report(report: dict[str, Any], settings: PreparationSettings):
    total = report["counts"][TOTAL]
    if not total["references"]:
        bad = report["bad_records"]
        if bad["skipped"]:
            raise PreparationError(
                f"nothing to prepare: none of {bad['skipped']} records can be used, the first: {bad['first'][0]}"
            )
        of_splits = f" of the splits {', '.join(settings.splits)}" if settings.splits else ""
        raise PreparationError(f"nothing to prepare: {settings.annotations!r} has no reference{of_splits}")
    empty, targets = empty_targets(report), total["references"] - total["no_target_references"]
    allowed = settings.allow_empty_targets
    if len(empty) > (EMPTY_FRACTION * targets if allowed is None else allowed):
        raise PreparationError(
            f"{len(empty)} of {targets} targets have no pixel, such as {', '.join(empty[:3])}: are their masks in the "
            f"format and scale that is read here?",
            hint=f"--allow-empty-targets {len(empty)} accepts them",
        )
    wrong = deviations(report, certain=True)
    if wrong and not settings.allow_partial:
        raise PreparationError(
            f"counts differ from the published ones ({'; '.join(wrong)}): files are missing or others than published",
            hint="--splits names the splits you have, --allow-partial accepts the difference",
        )


def _find_annotations(settings: PreparationSettings) -> Path:
    if settings.from_hub is not None:
        return fetch_annotations(settings.from_hub, settings.annotations)
    path = Path(settings.annotations)
    if settings.benchmark not in ("hub", "custom") and not path.exists():
        raise PreparationError(f"there is no file or folder of annotations {settings.annotations!r}")
    return path


def _open(settings: PreparationSettings, annotations: Path, held_out, same_images) -> RawBenchmark:
    splits = settings.splits
    masks = Path(settings.masks) if settings.masks is not None else None
    if settings.benchmark in SPLIT_BY:
        return read_refer(annotations, settings.benchmark, str(settings.split_by), splits)
    if settings.benchmark == "phrasecut":
        return read_phrasecut(annotations, splits)
    if settings.benchmark == "merge":
        if not held_out and not settings.allow_partial:
            raise PreparationError(
                "the merge must be cleaned of validation and test images, but no benchmark lies beside its file",
                hint="--held-out names prepared ones, --allow-partial accepts that",
            )
        names = {name for of_benchmark in held_out.values() for of_split in of_benchmark.values() for name in of_split}
        return read_merge(find_annotations(annotations), names, same_images, splits)
    if settings.benchmark == "original":
        coco = Path(settings.coco_annotations) if settings.coco_annotations is not None else None
        return read_original(find_annotations(annotations), masks, coco, splits)
    if settings.benchmark == "hub":
        return read_hub_mirror(settings.annotations, splits)
    options = {name: getattr(settings, name) for name in ("format", "made_expressions", "columns")}
    return open_custom(settings.annotations, settings.images, settings.masks, splits, **options)


def _image_folder(settings: PreparationSettings, benchmark: RawBenchmark) -> ImageFolder | None:
    if settings.images is not None:
        return ImageFolder(settings.images)
    if settings.benchmark == "custom" and Path(settings.annotations).exists():
        return ImageFolder(_folder_of(Path(settings.annotations)))
    if benchmark.holds_images:
        return None
    raise PreparationError(f"{benchmark.name} needs a folder of its images", hint="--images names it")


def _folder_of(annotations: Path) -> Path:
    return annotations if annotations.is_dir() else annotations.parent


def _find_image_data(settings: PreparationSettings, annotations: Path) -> Path | None:
    """Visual Genome's description of its images, in the folder of the annotations or of the images."""
    folders = [_folder_of(annotations)] + ([Path(settings.images)] if settings.images else [])
    return next((path for path in map(find_image_data, folders) if path is not None), None)


def _plan(settings: PreparationSettings, benchmark: RawBenchmark) -> dict[str, Any]:
    """What the rows depend on."""
    told = {name: value for name, value in settings.told().items() if name not in WITHOUT_EFFECT}
    files = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in benchmark.files]
    images = os.path.realpath(settings.images) if settings.images else None
    return {**told, "images": images, "annotation files": files}
