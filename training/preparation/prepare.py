# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepares a benchmark: opens its files, writes its rows, compares its counts with the published ones."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..atomic_files import FolderInUseError, WriteError, claim_name
from ..data.prepared import REPORT_NAME, dataset_fingerprint
from .held_out import find_held_out, read_visual_genome_to_coco
from .published_counts import TOTAL
from .readers.custom.formats import open_custom
from .readers.hub_mirrors import read_hub_mirror
from .readers.images import ImageFolder
from .readers.original import fetch_annotations, find_annotations, read_merge, read_original
from .readers.phrasecut import find_image_data, read_phrasecut
from .readers.records import SPLIT_BY, PreparationError, RawBenchmark, reading
from .readers.refer import read_refer
from .report import deviations, empty_targets, make_report, write_card
from .rows import RowMaker
from .settings import WITHOUT_EFFECT, PreparationSettings
from .writer import finish, start_processes, write_parts

EMPTY_FRACTION = 0.01  # of the targets, which may have no pixel without being allowed to


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
    try:
        with claim_name(output):
            return _finished(output, settings) or _prepare(settings, output, begin, progress)
    except (FolderInUseError, WriteError) as error:
        raise PreparationError(str(error)) from error
    except OSError as error:
        name = str(error.filename or output)
        raise PreparationError(f"cannot read or write {name!r} ({error.strerror or error})") from error


def _prepare(settings: PreparationSettings, output: Path, begin: Callable, progress: Callable) -> dict[str, Any]:
    if output.exists():
        raise PreparationError(f"the output {str(output)!r} exists already; choose another name or delete it")
    with start_processes(settings.processes) as workers:
        # 1. The files.
        annotations = _find_annotations(settings)
        same_images = read_visual_genome_to_coco(_find_image_data(settings, annotations))
        held_out = find_held_out(annotations, map(Path, settings.held_out), same_images)
        with reading(annotations):
            benchmark = _open(settings, annotations, held_out, same_images)
        begin(benchmark.total if settings.splits is None else None)

        # 2. The rows.
        maker = RowMaker(
            _image_folder(settings, benchmark), settings.image_bytes, settings.mask_rule, settings.decode_check
        )
        options = {"workers": workers, "skip_bad": settings.skip_bad, "progress": progress}
        parts = write_parts(benchmark, _staging(output), maker, _plan(settings, benchmark), **options)

        # 3. The counts.
        report = make_report(benchmark, parts, settings, held_out, same_images)
        _check_report(report, settings)

        # 4. The folder under its own name.
        def complete(folder: Path):
            report["fingerprint"] = dataset_fingerprint(folder)
            write_card(report, folder)
            text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
            (folder / REPORT_NAME).write_text(text + "\n", encoding="utf-8")

        finish(_staging(output), output, complete)
    return report


def _staging(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial")


def _finished(output: Path, settings: PreparationSettings) -> dict[str, Any] | None:
    """The report of a run that was killed when the folder had its name and the unfinished work was still there."""
    if not _staging(output).is_dir() or not (output / REPORT_NAME).is_file():
        return None
    report = json.loads((output / REPORT_NAME).read_text("utf-8"))
    if report["settings"] != json.loads(json.dumps(settings.told())):
        return None
    shutil.rmtree(_staging(output))
    return report


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
