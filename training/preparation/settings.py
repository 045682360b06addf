# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What to prepare, and how; the options of `ssp-sam prepare` are made of these fields."""

from dataclasses import dataclass
from typing import Any

from ..options import check_limits, option
from .readers.records import SPLIT_BY, PreparationError

FORMATS = ("metadata", "coco", "labelme", "yolo", "cvat", "masks", "table")  # of custom datasets
BENCHMARKS = (*SPLIT_BY, "phrasecut", "merge", "original", "hub", "custom", *FORMATS)
ALIASES = {"referit": "refclef", "refcocoplus": "refcoco+", "phrase_cut": "phrasecut", "own": "custom"}
ALIASES |= {"folder": "metadata"}
FORMAT_VERSION = 2
# Settings that change no row.
WITHOUT_EFFECT = ("processes", "allow_partial", "skip_bad", "allow_empty_targets")


@dataclass
class PreparationSettings:
    """
    What to prepare, and how: the benchmark, one of `BENCHMARKS` or `ALIASES`, where its annotations lie, and the
    options, which the help of each field explains. The name of a format is "custom" in that format.
    """

    benchmark: str
    annotations: str = option(
        None, "folder or file; for hub and tables also an id; with --from-hub the file's name", metavar="PATH"
    )
    images: str | None = option(None, "folder of images, where it is not that of the annotations", metavar="DIR")
    masks: str | None = option(None, "folder of mask files, for original and custom", metavar="DIR")
    format: str | None = option(None, "format of custom (default: found by what lies in the folder)", choices=FORMATS)
    made_expressions: bool = option(True, "do not make sentences of classes where custom has none")
    columns: dict[str, str] = option(
        {}, "columns of a table: image=… mask=… expressions=…", nargs="+", metavar="NAME=COLUMN"
    )
    coco_annotations: str | None = option(
        None, "instances_train2014.json, to draw the masks of original from", metavar="FILE"
    )
    from_hub: str | None = option(
        None, "repository on the Hub that holds the annotations of original and merge", metavar="ID"
    )
    split_by: str | None = option(None, "who divided into splits: unc, google, umd, berkeley", metavar="NAME")
    splits: list[str] | None = option(None, "only these splits", nargs="+", metavar="SPLIT")
    image_bytes: bool = option(False, "store the images themselves, not their paths")
    mask_rule: str = option(
        "coco", "draw polygons as pycocotools does, or as PhraseCut's own evaluator does", choices=["coco", "phrasecut"]
    )
    held_out: list[str] = option(
        [], "prepared benchmarks whose validation and test images are looked for", nargs="+", metavar="DIR"
    )
    processes: int = option(1, "processes that make rows", least=1)
    decode_check: bool = option(True, "do not decode every image to find damaged ones")
    allow_partial: bool = option(False, "accept counts that differ from the published ones")
    allow_empty_targets: int | None = option(None, "accept N targets without a pixel (default: a hundredth)", least=0)
    skip_bad: bool = option(False, "leave out records that cannot be used, and count them")

    def __post_init__(self):
        self.benchmark = ALIASES.get(self.benchmark, self.benchmark)
        if self.benchmark not in BENCHMARKS:
            known = ", ".join([*BENCHMARKS, *ALIASES])
            raise PreparationError(f"the benchmark must be one of {known}, got {self.benchmark!r}")
        if self.annotations is None:
            what = "the name of the file, such as refcoco" if self.from_hub else "the folder or file of annotations"
            raise PreparationError(f"--annotations must name {what}")
        if self.benchmark in FORMATS:
            self.format, self.benchmark = self.benchmark, "custom"
        if self.format is not None and (self.benchmark != "custom" or self.format not in FORMATS):
            known = f"must be one of {', '.join(FORMATS)}" if self.benchmark == "custom" else "belongs to custom"
            raise PreparationError(f"format {known}, got {self.format!r}")
        if not isinstance(self.columns, dict):
            pairs = [text.partition("=") for text in self.columns]
            if not all(column for _, _, column in pairs):
                raise PreparationError(f"columns are given as NAME=COLUMN, such as image=photo, got {self.columns}")
            self.columns = {name: column for name, _, column in pairs}
        versions = SPLIT_BY.get(self.benchmark, ())
        if self.split_by is None and versions:
            self.split_by = versions[0]
        if self.split_by is not None and self.split_by not in versions:
            offered = f"one of {', '.join(versions)}" if versions else "left out"
            raise PreparationError(f"split_by of {self.benchmark} must be {offered}, got {self.split_by!r}")
        for name, benchmarks in (("from_hub", ("original", "merge")), ("coco_annotations", ("original",))):
            if getattr(self, name) is not None and self.benchmark not in benchmarks:
                raise PreparationError(f"{name} belongs to {' or '.join(benchmarks)}, got {self.benchmark!r}")
        check_limits(self, PreparationError)

    def told(self) -> dict[str, Any]:
        """Returns the settings as a report tells them; how many processes worked changes nothing."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "processes"}
        return {**told, "format_version": FORMAT_VERSION}
