# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Annotates a collection, by any number of processes; a run that was stopped goes on with what is missing."""

import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from ..registration import pipeline
from ..training.atomic_files import claim_folder, other_than_planned
from ..training.processes import on_main, open_accelerator
from .items import Expressions, Item, in_batches, read_items
from .labelling import Ahead, Labelled, Labeller
from .options import AnnotationOptions
from .results import Summary, finish
from .shards import DATA, FAILED, ShardWriter, open_shard, rows_of, shard_name
from .sources import Source, open_source

PLAN_NAME = "plan.json"


class TooManyFailuresError(ValueError):
    """More images could not be used than were allowed."""


def annotate(
    source: Any,
    output: str | os.PathLike,
    expressions: str | Sequence[str] | None = None,
    *,
    column: str | None = None,
    classes: Sequence[str] | None = None,
    template: str = "the {}",
    model: Any = None,
    accelerator: Accelerator | None = None,
    quiet: bool = False,
    **options: Any,
) -> Summary:
    """
    Labels a collection of images; what it writes is a prepared dataset of predictions.

    The work is divided by shards of the source. A shard is whole or absent, so that a call that was stopped, wherever
    that was, goes on when it is repeated, with any number of processes.

    Args:
        source: What `sources.open_source` takes: a folder, glob or list of images, webdataset's tars, parquet files, a
            folder or object of `datasets`, the id of a dataset on the Hub.
        output: Folder to write, or to go on with.
        expressions: What to look for in every image.
        column: In place of that, the column of the source with an expression or a list of them; "expressions" where
            nothing is chosen.
        classes: In place of that, names of classes, put into `template`.
        template: Words around a class name, which takes the place of `{}`.
        model: A pipeline, or what `ssp_sam.pipeline` takes; the embedded model when not given.
        accelerator: That of a launch; one is made when not given.
        quiet: Whether no progress is shown.
        options: Those of `AnnotationOptions`.

    Returns:
        What was counted, the same in every process.

    Raises:
        ValueError: The source, the expressions or an option cannot be used, the folder holds other work, or too many
            images could not be used.
        FolderInUseError: Another process writes into the folder.
    """
    chosen = AnnotationOptions(**options)
    wanted = Expressions.choose(expressions, column, classes, template)
    opened = open_source(source, split=chosen.split, shard_size=chosen.shard_size)
    if wanted.column is not None and not opened.has_columns:
        raise ValueError(f"expected expressions or classes, since images alone have no column {wanted.column!r}")
    accelerator = accelerator or open_accelerator()
    if not isinstance(model, ReferringSegmentationPipeline):
        model = pipeline(model, device=accelerator.device)
    labeller = Labeller(model, chosen.max_megapixels * 1e6, chosen.expression_batch_size)
    return AnnotationJob(opened, Path(output), wanted, labeller, chosen, accelerator, quiet).run()


@dataclass
class AnnotationJob:
    """The work of every process of a run."""

    source: Source
    folder: Path
    expressions: Expressions
    labeller: Labeller
    options: AnnotationOptions
    accelerator: Accelerator
    quiet: bool = False

    def __post_init__(self):
        self.failures = self.images = 0
        self._fingerprint = self.labeller.fingerprint()

    def run(self) -> Summary:
        """Annotates what is missing, and finishes the folder; raises as `annotate` does."""
        with claim_folder(self.folder, self.accelerator):
            # 1. What there is to do, the same in every process.
            missing, self.failures = on_main(self.accelerator, self._begin)
            # 2. This process's shards.
            start = time.perf_counter()
            with self.accelerator.split_between_processes(missing) as own:
                problem, waited = self._annotate(own)
            # 3. What all have done.
            seconds = time.perf_counter() - start
            told = gather_object([(problem, self.images, seconds, waited)])
            problems = [text for text, *_ in told if text is not None]
            if problems:
                raise TooManyFailuresError(problems[0])
            summary = on_main(self.accelerator, lambda: finish(self.folder, self._plan(), self.options.coco))
            images, slowest = sum(number for _, number, *_ in told), max(spent for *_, spent, _ in told)
            return summary.with_run(images, slowest, sum(idle for *_, idle in told) / max(1e-9, len(told) * slowest))

    def _plan(self) -> dict[str, Any]:
        """What the rows depend on."""
        return {
            "source": self.source.name,
            "facts": self.source.facts,
            "shards": self.source.num_shards,
            "split": self.options.split,
            "expressions": [list(pair) for pair in self.expressions.everywhere],
            "column": self.expressions.column,
            "fingerprint": self._fingerprint,
            "max_megapixels": self.options.max_megapixels,
            "cutouts": self.options.cutouts,
        }

    def _begin(self) -> tuple[list[int], int]:
        """Compares the folder with the plan; returns the shards that are missing, and the failures of the others."""
        there = [entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")]
        if there and PLAN_NAME not in there:
            raise ValueError(f"{str(self.folder)!r} holds something else ({there[0]!r}); choose another folder")
        other = other_than_planned(self.folder / PLAN_NAME, self._plan())
        if other:
            raise ValueError(
                f"{str(self.folder)!r} was begun with other {', '.join(other)}; repeat that command to go on, or "
                f"choose another folder"
            )
        shards = range(self.source.num_shards)
        done = {shard for shard in shards if (self.folder / DATA / self._name(shard)).is_file()}
        failed = sum(parquet.read_metadata(self.folder / FAILED / self._name(shard)).num_rows for shard in done)
        self._check_failures(failed)
        return [shard for shard in shards if shard not in done], failed

    def _name(self, shard: int) -> str:
        return shard_name(self.options.split, shard, self.source.num_shards)

    def _check_failures(self, failures: int, last: str = ""):
        if self.options.max_failures is not None and failures > self.options.max_failures:
            raise TooManyFailuresError(
                f"{failures} images could not be used, more than max_failures {self.options.max_failures}"
                f"{f', the last: {last}' if last else ''}; mend them, or allow more and repeat the command"
            )

    # ---- one process -------------------------------------------------------------------------------------------------

    def _annotate(self, shards: list[int]) -> tuple[str | None, float]:
        """Annotates shards; returns what stopped it, so that no other process waits for it, and seconds of waiting."""
        labeller, workers = self.labeller, self.options.workers
        decode = Ahead(lambda batch: (batch[0], labeller.prepare(batch[1])), workers)
        read = Ahead(lambda batch: (batch[0], labeller.read(batch[1])), workers)
        batches = read((shard, labeller.predict(prepared)) for shard, prepared in decode(self._batches(shards)))
        hidden = self.quiet or not self.accelerator.is_main_process
        every = self.source.num_rows if len(shards) == self.source.num_shards else None
        try:
            with tqdm(total=every, unit="image", disable=hidden, file=sys.stderr) as bar:
                for number, (shard, group) in enumerate(itertools.groupby(batches, key=lambda pair: pair[0]), start=1):
                    with open_shard(self.folder, self._name(shard), self.options.cutouts) as writer:
                        for _, labelled in group:
                            self._write(labelled, writer)
                            bar.update(len(labelled))
                            bar.set_postfix(failures=self.failures, shards=f"{number}/{len(shards)}", refresh=False)
        except TooManyFailuresError as error:
            return str(error), decode.waited
        finally:
            batches.close()
        return None, decode.waited

    def _batches(self, shards: list[int]) -> Iterator[tuple[int, list[Item]]]:
        for shard in shards:
            items = read_items(self.source, shard, self.expressions)
            for batch in in_batches(items, self.options.batch_size, self.options.batch_megapixels * 1e6):
                yield shard, batch

    def _write(self, labelled: list[Labelled], writer: ShardWriter):
        for item, image, found in labelled:
            if item.reason:
                self.failures += 1
                self._check_failures(self.failures, f"{item.image_id}: {item.reason}")
            size = {} if image is None else {"size_hw": [image.height, image.width]}
            rows = rows_of(item, found, split=self.options.split, fingerprint=self._fingerprint, **size)
            writer.add(rows, image)
            self.images += 1
