# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Writes prepared benchmarks as they are read: in parts, by several processes, aside, and renamed when all is there.

A run that was stopped goes on with the parts that are missing; its result is the same, byte for byte.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet as parquet

from ..atomic_files import link_or_copy, other_than_planned, remove_leftovers, write_aside, write_text
from ..data.prepared import FEATURES
from .readers.records import BadRecord, PreparationError, RawBenchmark, RawReference, making_record
from .rows import RowMaker

ROWS_PER_PART = 2000
ROWS_PER_PART_WITH_IMAGES = 400
ROWS_PER_GROUP = 500  # rows that a process holds before it writes them
ROWS_PER_GROUP_WITH_IMAGES = 50
UNKNOWN_SPLIT = "unknown"  # of records whose split cannot be read


@dataclass
class PartCounts:
    """What was counted in the rows of one part."""

    references: int = 0
    expressions: int = 0
    masks: int = 0
    no_target_references: int = 0
    no_target_expressions: int = 0
    multi_target_references: int = 0
    multi_target_expressions: int = 0
    images: dict[str, str] = field(default_factory=dict)  # digests of images by their ids, as `RowMaker` has them
    suspicious: dict[str, list[str]] = field(default_factory=dict)  # why labels may be wrong, by reference
    notes: dict[str, int] = field(default_factory=dict)  # what was put right or looks odd
    bad: list[str] = field(default_factory=list)  # records that were left out

    def add(self, row: dict[str, Any]):
        """Counts one row."""
        number = len(row["expressions"])
        self.references += 1
        self.expressions += number
        self.masks += len(row["masks"])
        if row["no_target"]:
            self.no_target_references += 1
            self.no_target_expressions += number
        elif len(row["ann_ids"]) > 1:
            self.multi_target_references += 1
            self.multi_target_expressions += number


class Workers(NamedTuple):
    """Processes that make rows: how many, and the pool of them, None where this process makes the rows."""

    number: int
    pool: ProcessPoolExecutor | None


@contextmanager
def start_processes(number: int) -> Iterator[Workers]:
    """
    Starts processes that make rows; for 1 this process makes them.

    To be called before a benchmark is opened: a forked process shares what is loaded already, and should not hold the
    annotations as well.
    """
    if number == 1:
        yield Workers(1, None)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(number, context, _begin_process) as pool:
        list(pool.map(abs, range(number)))  # a pool starts its processes with the first work
        try:
            yield Workers(number, pool)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_process():
    """Leaves interruptions from the keyboard to the parent, and ends with it: a pool's process would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent():
        multiprocessing.parent_process().join()  # pyright: ignore[reportOptionalMemberAccess]
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@dataclass(frozen=True)
class _Part:
    """Rows that become one file: where, what they are made of, and how."""

    path: Path
    items: list[RawReference | BadRecord]
    maker: RowMaker
    rows_per_group: int
    skip_bad: bool

    @property
    def counts_path(self) -> Path:
        """What was counted lies beside the rows, written before them: the rows say that a part is complete."""
        return self.path.with_suffix(".json")

    def write(self) -> int:
        """Makes the rows and writes them; returns how many references there were."""
        counts, schema, rows = PartCounts(), FEATURES.arrow_schema, []
        self.maker.start_part()
        with write_aside(self.path) as aside, parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
            for item in self.items:
                try:
                    row = self._row(item)
                except BadRecord as bad:
                    if not self.skip_bad:
                        hint = "--skip-bad leaves such records out and counts them"
                        raise PreparationError(str(bad), hint) from None
                    counts.bad.append(str(bad))
                    continue
                counts.add(row)
                rows.append(row)
                if len(rows) == self.rows_per_group:
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
                    rows = []
            if rows:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            counts.images, counts.suspicious = self.maker.images, self.maker.suspicious
            counts.notes = {name: number for name, number in self.maker.notes.items() if number}
            write_text(self.counts_path, json.dumps(asdict(counts)))
        return len(self.items)

    def _row(self, item: RawReference | BadRecord) -> dict[str, Any]:
        if isinstance(item, BadRecord):
            raise item
        with making_record(item.origin, item.index, item.split):
            return self.maker.row(item)


def write_parts(
    benchmark: RawBenchmark,
    staging: Path,
    maker: RowMaker,
    plan: dict[str, Any],
    *,
    workers: Workers,
    skip_bad: bool,
    progress: Callable[[int], None] = lambda number: None,
) -> dict[str, list[PartCounts]]:
    """
    Writes the rows of a benchmark into `staging/parts`, those parts that are not there yet.

    Args:
        plan: Settings that the rows depend on; parts of other settings are not mixed in.
        skip_bad: Whether records that cannot be used are left out and counted, instead of ending the work.
        progress: Called with the number of references that have been dealt with.

    Returns:
        The counts of the parts, by split, in order.

    Raises:
        PreparationError: A record cannot be used, or the folder holds unfinished work of other settings.
    """
    folder = staging / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(staging, claimed=True)
    remove_leftovers(folder, claimed=True)
    other = other_than_planned(staging / "plan.json", plan)
    if other:
        raise PreparationError(
            f"{str(staging)!r} holds an unfinished preparation with other {', '.join(other)}; "
            f"repeat that command to finish it, or delete the folder"
        )
    with_images = maker.image_bytes or benchmark.holds_images
    parts: dict[str, list[_Part]] = {}

    def missing() -> Iterator[_Part]:
        for split, items in _in_parts(
            benchmark.references, ROWS_PER_PART_WITH_IMAGES if with_images else ROWS_PER_PART
        ):
            of_split = parts.setdefault(split, [])
            group = ROWS_PER_GROUP_WITH_IMAGES if with_images else ROWS_PER_GROUP
            path = folder / f"{split}-{len(of_split):05d}.parquet"
            part = _Part(path, items, maker, group, skip_bad)
            of_split.append(_Part(path, [], maker, group, skip_bad))
            if path.is_file() and part.counts_path.is_file():
                progress(len(items))
            else:
                yield part

    for written in _run(missing(), workers):
        progress(written)
    return {
        split: [PartCounts(**json.loads(part.counts_path.read_text("utf-8"))) for part in of_split]
        for split, of_split in sorted(parts.items())
    }


def finish(staging: Path, output: Path, complete: Callable[[Path], None]):
    """
    Gives the parts the names that `datasets` knows, lets `complete` write what else belongs into the folder when `data`
    is in it, and renames it to its final name. A run that is stopped in between finishes anew.
    """
    shards: dict[str, list[Path]] = {}
    for path in sorted((staging / "parts").glob("[!.]*.parquet")):
        shards.setdefault(path.stem.rsplit("-", 1)[0], []).append(path)
    with write_aside(output) as folder:
        (folder / "data").mkdir(parents=True)
        for paths in shards.values():
            if sum(parquet.read_metadata(path).num_rows for path in paths):  # a split of bad records alone is none
                for path in paths:
                    link_or_copy(path, folder / "data" / f"{path.stem}-of-{len(paths):05d}.parquet")
        complete(folder)
    shutil.rmtree(staging)


def _in_parts(
    references: Iterable[RawReference | BadRecord], rows_per_part: int
) -> Iterator[tuple[str, list[RawReference | BadRecord]]]:
    """References of one split at a time, in the order of each split; a `ref_id` that a split has already is bad."""
    waiting: dict[str, list[RawReference | BadRecord]] = {}
    known: dict[tuple[str, str], int] = {}
    for item in references:
        if isinstance(item, RawReference):
            key, problem = (item.split, item.ref_id), None
            if not _is_name(item.split):
                problem = f"a split's name must be of letters and digits, got {item.split!r}"
            elif key in known:
                problem = f"reference {item.ref_id!r} is in record {known[key]} already"
            known.setdefault(key, item.index)
            if problem:
                item = BadRecord(problem, item.origin, item.index, item.split)
        split = item.split if _is_name(item.split) else UNKNOWN_SPLIT
        waiting.setdefault(split, []).append(item)
        if len(waiting[split]) == rows_per_part:
            yield split, waiting.pop(split)
    for split in sorted(waiting):
        yield split, waiting[split]


def _is_name(split: str) -> bool:
    return split.replace("_", "").isascii() and split.replace("_", "").isalnum()


def _run(parts: Iterator[_Part], workers: Workers) -> Iterator[int]:
    """Writes the parts, few ahead of the results, so that memory does not grow; yields how many references each had."""
    if workers.pool is None:
        yield from (part.write() for part in parts)
        return
    running: deque[Future] = deque()
    try:
        for part in parts:
            running.append(workers.pool.submit(part.write))
            if len(running) > workers.number:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool as error:
        raise PreparationError(
            "a process ended unexpectedly, perhaps for lack of memory", "repeat the command with fewer --processes"
        ) from error
    finally:
        for future in running:
            future.cancel()
