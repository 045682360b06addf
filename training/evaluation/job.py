# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""One evaluation from its options to its report."""

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from ...processing.visualization.comparison import Case, choose_cases, draw_contact_sheet
from ..atomic_files import claim_folder, write_aside
from ..data.masks import decode
from .options import PREDICTIONS, SHEET, EvaluationOptions
from .predictions import SavedPredictions, write_predictions
from .protocols import EvaluationAccumulator, EvaluationProtocol, prediction_record, saved_record
from .report import build_report, choose_family, model_identity, write_report
from .run import Samples, predict_image, predicted_batches
from .samples import BenchmarkSamples, SceneSamples

# The canvas of SAM, which predictions of another model say nothing about; the true masks go through it.
SAM_CANVAS = 1024
THRESHOLDS = ("mask_threshold", "no_target_threshold", "min_mask_pixels")


def open_samples(options: EvaluationOptions) -> Samples:
    """Opens the images; raises `ValueError` for no such data, and where one id is that of two references or images."""
    if options.data is not None:
        return BenchmarkSamples(options.data, options.split, options.limit)
    return SceneSamples(str(options.scenes), options.num_scenes, options.expressions_per_scene, options.first_seed)


class Evaluation:
    """
    What a run works with, opened and checked before anything is computed; every process makes one and runs it, of a
    `ReferringSegmentationPipeline`, loaded from a folder or Hub id, or of saved predictions.

    Raises:
        ValueError: The data or the predictions cannot be used.
    """

    def __init__(self, options: EvaluationOptions, accelerator: Accelerator, segmenter=None, model_name: str = ""):
        self.options, self.accelerator, self.segmenter = options, accelerator, segmenter
        self.saved = None if options.from_predictions is None else SavedPredictions(options.from_predictions)
        if (self.saved is None) == (segmenter is None):
            raise ValueError("expected either a segmenter or options.from_predictions")
        with accelerator.main_process_first():
            self.samples = open_samples(options)
        family = options.family or choose_family(self.samples.sources, self.samples.has_no_target)
        self.settings, self.model = self._settings(family), self._model(model_name)
        standard = EvaluationProtocol.standard(self.settings["mask_threshold"], self.settings["min_mask_pixels"])
        protocols = (standard, EvaluationProtocol.original())
        self.accumulator = EvaluationAccumulator(family, protocols, self.settings["canvas_size"])

    def _settings(self, family: str) -> dict[str, Any]:
        """Thresholds and sizes that the predictions depend on."""
        if self.saved is not None:
            known = self.saved.info.get("settings", {})
            settings = {"canvas_size": SAM_CANVAS, **dict.fromkeys(THRESHOLDS[:2]), "min_mask_pixels": 0, **known}
        else:
            processor = self.segmenter.processor
            settings = {"canvas_size": processor.image_processor.pad_size.height}
            settings |= {name: getattr(processor, name) for name in (*THRESHOLDS, "score_temperature", "score_bias")}
            if family != "gres":
                settings["min_mask_pixels"] = 0
        if self.options.min_mask_pixels is not None:
            settings["min_mask_pixels"] = self.options.min_mask_pixels
        return settings

    def _model(self, name: str) -> dict[str, Any] | None:
        if self.saved is not None:
            return self.saved.info.get("model")
        return model_identity(name, self.segmenter.model) if self.accelerator.is_main_process else None

    @property
    def thresholds(self) -> dict[str, Any]:
        """Those settings that post-processing takes."""
        return {name: self.settings[name] for name in THRESHOLDS}

    def run(self, facts: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any] | None:
        """
        Measures and writes the report, and with it the contact sheet and predictions as far as they are wanted.

        Args:
            facts: What the report says of the run beside how it went, such as `command` and `versions`.

        Returns:
            The report in the main process, `None` elsewhere.

        Raises:
            ValueError: An image, its annotations or its prediction cannot be used.
            FolderInUseError, WriteError: Another run is writing into the folder, or it cannot be written.
        """
        with claim_folder(self.options.output, self.accelerator):
            return self._run(facts)

    def _run(self, facts: Mapping[str, Any]) -> dict[str, Any] | None:
        # 1. Measure.
        start = time.monotonic()
        measured = self._measure_model() if self.saved is None else self._measure_predictions(self.saved)
        if not self.accelerator.is_main_process:
            return None
        seconds = time.monotonic() - start

        # 2. Report.
        facts = {
            **facts,
            **measured,
            "processes": self.accelerator.num_processes,
            "seconds": round(seconds, 2),
            "images_per_second": round(len(self.samples) / seconds, 2),
            "expressions_per_second": round(self.samples.num_expressions / seconds, 2),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        described, folder = self.samples.describe(), Path(self.options.output)
        report = build_report(
            self.accumulator,
            dataset=described,
            model=self.model,
            settings=self.settings,
            run=facts,
            published=self.options.published,
        )
        if self.options.cases:
            title = f"{described['name']}, {described['split']}: {self.model['name'] if self.model else 'file'}"
            with write_aside(folder / SHEET) as aside:
                self._draw_sheet(title).save(aside, "PNG")
        write_report(report, folder, SHEET if self.options.cases else None)
        return report

    def _measure_model(self) -> dict[str, Any]:
        """Runs the model, and leaves the sums of all processes in `accumulator`; returns facts of the run."""
        options, samples, world_size = self.options, self.samples, self.accelerator.num_processes
        is_main, writing = self.accelerator.is_main_process, nullcontext()
        if options.save_predictions and is_main:
            info = {"dataset": samples.describe(), "model": self.model, "settings": self.settings}
            writing = write_predictions(Path(options.output) / PREDICTIONS, info)
        batches = predicted_batches(
            self.segmenter,
            samples,
            batch_size=options.batch_size,
            expression_batch_size=options.expression_batch_size,
            num_workers=options.workers,
            rank=self.accelerator.process_index,
            world_size=world_size,
        )
        bar = tqdm(total=samples.num_expressions, unit="expression", disable=not is_main, file=sys.stderr)
        with bar, writing as write:
            for _ in range(-(-len(samples) // (options.batch_size * world_size))):
                records = []
                # In the last round some processes have nothing left to do; they bring an empty list.
                for image, number, raw in next(batches, []):
                    record = prediction_record(image, image.items[number], raw, **self.thresholds)
                    self.accumulator.add(image, number, record)
                    records += [saved_record(record)] if options.save_predictions else []
                gathered = gather_object(records) if options.save_predictions else []
                if write is not None:
                    write(gathered)
                bar.update(min(self.accumulator.num_samples * world_size, samples.num_expressions) - bar.n)
        self._join()
        facts = {"batch_size": options.batch_size, "image_encodings": len(samples)}
        return {"predictions": "of the model", **facts, "device": self.accelerator.device.type}

    def _measure_predictions(self, saved: SavedPredictions) -> dict[str, Any]:
        """Reads saved predictions, as `_measure_model` runs the model; images are not read."""
        saved.check_sources(self.samples.shared_ref_ids)
        for index in range(self.accelerator.process_index, len(self.samples), self.accelerator.num_processes):
            image = self.samples.without_image(index)
            for number, item in enumerate(image.items):
                try:
                    self.accumulator.add(image, number, saved.take(image, item))
                except ValueError as error:
                    where = f"the prediction for sentence {item.sentence} of reference {item.ref_id!r}"
                    raise ValueError(f"{where} does not fit image {image.image_id!r}: {error}") from error
        self._join()
        used = sum(gather_object([len(saved.used)]))
        if not used:
            raise ValueError(
                f"none of the {len(saved)} predictions in {saved.path!r} is for the {self.samples.num_expressions} "
                f"expressions of split {self.samples.split!r}; name the data and the split that they were made for"
            )
        return {"predictions": "from a file", "unused_predictions": len(saved) - used}

    def _join(self):
        """Adds up what all processes have summed; each expression must have been counted once."""
        self.accumulator = self.accumulator.merged(gather_object([self.accumulator.state()]))
        if self.accumulator.num_samples != self.samples.num_expressions:
            raise RuntimeError(f"counted {self.accumulator.num_samples} expressions of {self.samples.num_expressions}")

    def _draw_sheet(self, title: str):
        """Draws the contact sheet; its cases are predicted again."""
        cases = self.accumulator.cases
        values = {(index, number): value for index, number, value in zip(*cases)}
        rows: dict[str, list[Case]] = {}
        for name, chosen in choose_cases(cases, self.options.cases).items():
            rows[name] = [self._case(index, number, values[index, number]) for index, number in chosen]
        return draw_contact_sheet(rows, title)

    def _case(self, index: int, number: int, value: float) -> Case:
        image = self.samples[index]
        item = image.items[number]
        if self.saved is not None:
            record = self.saved.take(image, item)
        else:
            raw = predict_image(self.segmenter, image.image, [item.expression])[0]
            record = prediction_record(image, item, raw, **self.thresholds)
        true = decode(item.truth)
        predicted = true & False if record is None else decode(record["segmentation"])
        notes = [f"IoU {value:.2f}" if value >= 0 else "rightly empty" if value < -1.5 else "should be empty"]
        notes += ["not predicted"] if record is None else []
        notes += [f"score {record['score']:.2f}"] if record and record.get("score") is not None else []
        notes += [f"image {image.image_id}", f"reference {item.ref_id}"]
        return Case(image.image, item.expression, predicted, true, ", ".join(notes))
