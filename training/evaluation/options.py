# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is evaluated, and how; the options of `ssp-sam evaluate` are made of these fields."""

from dataclasses import dataclass
from pathlib import Path

from ..options import check_limits, option

PREDICTIONS, SHEET, REPORT = "predictions.json", "contact_sheet.png", "report.json"


@dataclass
class EvaluationOptions:
    """
    What is evaluated, and how, as the help of each field explains it; `data` or `scenes` must be given.

    Raises:
        ValueError: Options contradict each other or would lose files.
    """

    data: str | None = option(None, "benchmark or custom dataset, as ssp-sam prepare made it", metavar="DIR")
    scenes: str | None = option(None, "generated scenes: test, novel, validation or train", metavar="SPLIT")
    split: str | None = option(None, "split of --data (default: its only one, or val)", metavar="NAME")
    limit: int | None = option(None, "images of --data, from the first (default: all)", least=1)
    num_scenes: int = option(1000, "scenes")
    expressions_per_scene: int = option(2, "of each")
    first_seed: int = option(0, "seed of the first scene")
    family: str | None = option(None, "metrics: res, gres or phrasecut (default: by the data)", metavar="NAME")
    min_mask_pixels: int | None = option(
        None,
        "by the standard protocol, masks of fewer pixels count as empty (default: the processor's setting for the GRES "
        "family, 0 for the others)",
        least=0,
    )
    output: str = option("outputs/evaluation", "folder to write", metavar="DIR")
    overwrite: bool = option(False, "replace a report that is already there")
    published: bool = option(False, "also show what papers report, and the difference")
    save_predictions: bool = option(False, "also write predictions.json")
    from_predictions: str | None = option(
        None, "measure saved predictions, or a folder of ssp-sam annotate; no model is loaded", metavar="FILE"
    )
    cases: int = option(3, "cases per row of the sheet; 0: no sheet", least=0)
    batch_size: int = option(8, "images encoded at once", least=1)
    expression_batch_size: int = option(64, "expressions decoded at once", least=1)
    workers: int = option(0, "processes that read images", least=0)

    def __post_init__(self):
        from .metrics import FAMILIES  # late, since a --help that reads this file needs no numpy

        if (self.data is None) == (self.scenes is None):
            raise ValueError(f"expected either data or scenes, got data {self.data!r} and scenes {self.scenes!r}")
        if self.family not in (None, *FAMILIES):
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {self.family!r}")
        check_limits(self)
        if self.scenes is not None and (self.split or self.limit):
            raise ValueError(
                f"split and limit belong to data, got {self.split!r} and {self.limit!r} for scenes; "
                "give scenes SPLIT and num_scenes"
            )
        if self.published and (self.limit or self.data is None):
            raise ValueError("published figures are of whole splits of a benchmark; give data, and leave limit out")
        if self.from_predictions and self.save_predictions:
            raise ValueError("predictions that are read from a file are not saved again; leave save_predictions out")
        self._check_output()

    def _check_output(self):
        output = Path(self.output)
        if output.exists() and not output.is_dir():
            raise ValueError(f"output must be a folder, got the file {self.output!r}")
        names = (REPORT,) if self.from_predictions else (REPORT, PREDICTIONS)
        there = [name for name in names if (output / name).exists()]
        if there and not self.overwrite:
            raise ValueError(f"{self.output!r} already holds {' and '.join(there)}; give another output or overwrite")
