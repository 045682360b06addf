# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Rows of an annotation: parquet that is a prepared dataset, whose shards are whole or absent."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
from datasets import Features
from PIL import Image as PillowImage

from ..processing.segmentation_results import SegmentationResult
from ..training.atomic_files import write_aside
from ..training.data.masks import decode
from ..training.data.prepared import FEATURES, PREDICTION_FEATURES
from .items import Item

SCHEMA = Features({**FEATURES, **PREDICTION_FEATURES}).arrow_schema
ROWS_PER_GROUP = 256  # that are held before they are written
GROUP_BYTES = 64 * 2**20  # of images that are held
DATA, FAILED, CUTOUTS = "data", "failed", "cutouts"


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns the name of a shard's file, as `datasets` knows it."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.parquet"


def rows_of(item: Item, found: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """
    Returns one row for each prediction of an item, in the order of its questions, or the one row of an item with a
    reason; all with the values of further columns.
    """
    stored = item.image if isinstance(item.image, dict) else None
    row = {"image": stored and {"bytes": stored.get("bytes"), "path": stored.get("path")}, "image_id": item.image_id}
    row |= {"ref_id": "", "category": "", "ann_ids": [], "expressions": [], "masks": [], "box_xyxy": None}
    row |= {"size_hw": [0, 0], "no_target": False, "source": item.source, "licence": item.licence, "score": None}
    row |= {"reason": item.reason, **fields}
    if item.reason:
        return [row | {"image": None, "ref_id": item.image_id}]
    return [
        row
        | {
            "ref_id": question.ref_id,
            "category": question.category,
            "ann_ids": [] if prediction["no_target"] else [question.ref_id],
            "expressions": [question.expression],
            "masks": [] if prediction["mask"] is None else [prediction["mask"]],
            "box_xyxy": prediction["box_xyxy"],
            "no_target": prediction["no_target"],
            "score": prediction["score"],
        }
        for question, prediction in zip(item.questions, found, strict=True)
    ]


class _Rows:
    """A parquet file that is written in groups of rows; the bytes of an image are in each group once."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = parquet.ParquetWriter(
            path, SCHEMA, compression="zstd", dictionary_pagesize_limit=2 * GROUP_BYTES
        )
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, rows: list[dict[str, Any]]):
        self._rows += rows
        self._bytes += len(rows[0]["image"]["bytes"] or b"") if rows and rows[0]["image"] else 0
        if len(self._rows) >= ROWS_PER_GROUP or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self):
        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0

    def close(self):
        self.flush()
        self._writer.close()


class ShardWriter:
    """
    Where the rows of one shard go, those of images and those with a reason, and cutouts, if a folder for them is given;
    made by `open_shard`.
    """

    def __init__(self, found: Path, failed: Path, cutouts: Path | None):
        self._found, self._failed, self._cutouts = _Rows(found), _Rows(failed), cutouts

    def add(self, rows: list[dict[str, Any]], image: PillowImage.Image | None):
        """Writes the rows of one item, and the cutouts of its image."""
        (self._failed if rows and rows[0]["reason"] else self._found).add(rows)
        for row in rows if self._cutouts is not None and image is not None else []:
            if row["masks"]:
                name = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in row["ref_id"])
                result = SegmentationResult(mask=PillowImage.fromarray(decode(row["masks"][0])).convert("L"))
                result.cutout(image).save(self._cutouts / f"{name}.png")

    def close(self):
        """Writes what is held."""
        self._found.close()
        self._failed.close()


@contextmanager
def open_shard(folder: Path, name: str, with_cutouts: bool) -> Iterator[ShardWriter]:
    """
    Yields the writer of a shard, whose files get their names at the end; that of its rows last. Cutouts, where they are
    wanted, go into a folder of the shard.
    """
    with ExitStack() as asides:
        found = asides.enter_context(write_aside(folder / DATA / name))
        failed = asides.enter_context(write_aside(folder / FAILED / name))
        cutouts = None
        if with_cutouts:
            cutouts = asides.enter_context(write_aside(folder / CUTOUTS / Path(name).stem))
            cutouts.mkdir()
        writer = ShardWriter(found, failed, cutouts)
        yield writer
        writer.close()
