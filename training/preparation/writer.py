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
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from ..data.prepared import FEATURES
from .readers.records import BadRecord, PreparationError, RawBenchmark, RawReference
from .rows import RowMaker

ROWS_PER_PART = 2000
ROWS_PER_PART_WITH_PICTURES = 400
ROWS_PER_GROUP = 500  # rows that a process holds before it writes them
ROWS_PER_GROUP_WITH_PICTURES = 50
MAX_NAMED = 20  # bad records that a report names


@dataclass
class PartCounts:
    """What was counted in the rows of one part; parts add up."""

    references: int = 0
    expressions: int = 0
    masks: int = 0
    no_target_references: int = 0
    no_target_expressions: int = 0
    multi_target_references: int = 0
    multi_target_expressions: int = 0
    image_ids: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

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


@dataclass
class Workers:
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
    # An interruption from the keyboard reaches all processes; this one alone answers it.
    with ProcessPoolExecutor(number, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        list(pool.map(abs, range(number)))  # a pool starts its processes with the first work
        try:
            yield Workers(number, pool)
        finally:
            pool.shutdown(cancel_futures=True)


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
        benchmark: What to write.
        staging: Folder for the unfinished work.
        maker: Makes the rows.
        plan: Settings that the rows depend on; parts of other settings are not mixed in.
        workers: What `start_processes` gave.
        skip_bad: Whether records that cannot be used are left out and counted, instead of ending the work.
        progress: Called with the number of references that have been dealt with.

    Returns:
        The counts of the parts, by split, in order.

    Raises:
        PreparationError: A record cannot be used, or the folder holds unfinished work of other settings.
    """
    parts = staging / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    _check_plan(staging / "plan.json", plan)
    with_pictures = maker.image_bytes or benchmark.large_pictures
    rows_per_part = ROWS_PER_PART_WITH_PICTURES if with_pictures else ROWS_PER_PART
    rows_per_group = ROWS_PER_GROUP_WITH_PICTURES if with_pictures else ROWS_PER_GROUP
    names: dict[str, list[str]] = {}

    def jobs() -> Iterator[tuple]:
        for split, items in _in_parts(benchmark.references, rows_per_part):
            name = f"{split}-{len(names.setdefault(split, [])):05d}"
            names[split].append(name)
            if _is_written(parts, name):
                progress(len(items))
            else:
                yield parts, name, items, maker, rows_per_group, skip_bad

    for written in _run(jobs(), workers):
        progress(written)
    return {
        split: [_read_counts(parts, name) for name in sorted(of_split)] for split, of_split in sorted(names.items())
    }


def finish(staging: Path, output: Path, complete: Callable[[Path], None]):
    """
    Gives the parts the names that `datasets` knows, lets `complete` write what else belongs into the folder, and
    renames the folder to its final name.

    Args:
        staging: What `write_parts` wrote into.
        output: The final name.
        complete: Called with the folder when `data` is in it.
    """
    parts, data = staging / "parts", staging / "data"
    data.mkdir(exist_ok=True)
    shards: dict[str, list[Path]] = {}
    for path in sorted(parts.glob("*.parquet")):
        if not path.name.startswith("."):
            shards.setdefault(path.stem.rsplit("-", 1)[0], []).append(path)
    for paths in shards.values():
        if sum(parquet.read_metadata(path).num_rows for path in paths):  # a split of bad records alone is none
            for path in paths:
                os.replace(path, data / f"{path.stem}-of-{len(paths):05d}.parquet")
    complete(staging)
    shutil.rmtree(parts)
    (staging / "plan.json").unlink()
    os.replace(staging, output)


def resume(staging: Path):
    """Undoes what `finish` did in a run that was stopped in it."""
    for path in (staging / "data").glob("*.parquet"):
        (staging / "parts").mkdir(exist_ok=True)
        os.replace(path, staging / "parts" / f"{path.name.split('-of-')[0]}.parquet")


def _check_plan(path: Path, plan: dict[str, Any]):
    text = json.dumps(plan, indent=1, sort_keys=True, default=str)
    if path.is_file():
        if path.read_text("utf-8") != text:
            before = json.loads(path.read_text("utf-8"))
            other = [name for name in plan if before.get(name) != json.loads(text).get(name)]
            raise PreparationError(
                f"{str(path.parent)!r} holds an unfinished preparation with other {', '.join(other) or 'settings'}; "
                f"repeat that command to finish it, or delete the folder"
            )
        return
    _write_aside(path, text)


def _in_parts(references, rows_per_part: int) -> Iterator[tuple[str, list[RawReference | BadRecord]]]:
    """References of one split at a time, in the order of each split; a `ref_id` that a split has already is bad."""
    waiting: dict[str, list[RawReference | BadRecord]] = {}
    known: dict[str, set[str]] = {}
    for item in references:
        if isinstance(item, RawReference):
            seen = known.setdefault(item.split, set())
            if not item.split.replace("_", "").isalnum():
                item = BadRecord(
                    f"a split's name must be of letters and digits, got {item.split!r}", item.origin, item.index
                )
            elif item.ref_id in seen:
                item = BadRecord(f"reference {item.ref_id!r} occurs twice", item.origin, item.index, item.split)
            else:
                seen.add(item.ref_id)
        split = item.split if item.split.replace("_", "").isalnum() else "unknown"
        waiting.setdefault(split, []).append(item)
        if len(waiting[split]) == rows_per_part:
            yield split, waiting.pop(split)
    for split in sorted(waiting):
        yield split, waiting[split]


def _run(jobs: Iterator[tuple], workers: Workers) -> Iterator[int]:
    """Runs the jobs, few ahead of the results, so that memory does not grow; yields how many references each had."""
    if workers.pool is None:
        for job in jobs:
            yield _write_part(*job)
        return
    running: deque[Future] = deque()
    try:
        for job in jobs:
            running.append(workers.pool.submit(_write_part, *job))
            if len(running) > workers.number:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool as error:
        raise PreparationError(
            "a process ended unexpectedly, perhaps for lack of memory; repeat the command with fewer --processes"
        ) from error
    finally:
        for future in running:
            future.cancel()


def _write_part(parts: Path, name: str, items: list, maker: RowMaker, rows_per_group: int, skip_bad: bool) -> int:
    """Makes the rows of a part and writes them aside; the counts come first: the rows say that a part is complete."""
    counts, image_ids, rows = PartCounts(), {}, []
    maker.notes = Counter()
    schema = FEATURES.arrow_schema
    aside = parts / f".{name}.parquet"
    with parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
        for item in items:
            try:
                if isinstance(item, BadRecord):
                    raise item
                row = maker.row(item)
            except BadRecord as bad:
                if bad.index < 0:
                    bad.origin, bad.index = item.origin, item.index
                if not skip_bad:
                    raise PreparationError(f"{bad}; --skip-bad leaves such records out and counts them") from None
                counts.bad.append(str(bad))
                continue
            counts.add(row)
            image_ids[row["image_id"]] = None
            rows.append(row)
            if len(rows) == rows_per_group:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
                rows = []
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    counts.image_ids, counts.notes = list(image_ids), {key: value for key, value in maker.notes.items() if value}
    _write_aside(parts / f"{name}.json", json.dumps(asdict(counts)))
    os.replace(aside, parts / f"{name}.parquet")
    return len(items)


def _is_written(parts: Path, name: str) -> bool:
    return (parts / f"{name}.parquet").is_file() and (parts / f"{name}.json").is_file()


def _read_counts(parts: Path, name: str) -> PartCounts:
    return PartCounts(**json.loads((parts / f"{name}.json").read_text("utf-8")))


def _write_aside(path: Path, text: str):
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
