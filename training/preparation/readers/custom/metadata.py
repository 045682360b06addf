# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets of one record per reference: lines of a `metadata.jsonl`, rows of parquet.

A record names `image`, `mask` (one, a list of one per object, or null where nothing is meant) and `expression` or
`expressions`, and where wanted `mask_values` (which values of the mask files are meant), `ref_id`, `split`, `category`,
`box` (left, top, right, bottom of all that is meant), `image_id` and `licence`. Images and masks are names of files or,
in parquet, the files themselves; a mask may be polygons or run lengths, too. An entirely black mask says that nothing
is meant, as well.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from ....data import masks as run_lengths
from ....data.prepared import read_rows
from ..json_files import open_text
from ..mask_files import read_mask_file
from ..records import (
    BadRecord,
    PreparationError,
    RawObject,
    RawReference,
    as_list,
    box_from_xyxy,
    identifier,
    read_each,
    reading,
    sentences_of,
    shortened,
    take,
    whole_number,
)
from .annotated import DEFAULT_SPLIT, SENTENCE_FIELDS, Source, said_in

METADATA_NAMES = ("metadata.jsonl", "metadata.jsonl.gz")
NAMED_BY_COLUMNS = ("image", "mask", "expressions", "mask_values", "ref_id", "split", "category", "box", "licence")


def find_lines(files: Sequence[Path]) -> list[Path]:
    """Returns the files of metadata among files."""
    named = [path for path in files if path.name in METADATA_NAMES]
    return named or [path for path in files if len(files) == 1 and path.suffix == ".jsonl"]


def read_lines(source: Source) -> Iterator[RawReference | BadRecord]:
    """Reads lines of JSON."""

    def make(index: int, line: str) -> RawReference | None:
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadRecord(f"the line is no JSON ({error})") from error
        if isinstance(record, dict) and "image" not in record and "file_name" in record:
            record = {"image": record["file_name"], **record}
        return _reference(index, record, source, path, DEFAULT_SPLIT)

    for path in source.files:
        with open_text(path) as stream:
            yield from read_each(enumerate(stream), make, source.name_of(path))


def find_tables(files: Sequence[Path]) -> list[Path]:
    """Returns the tables among files."""
    return [path for path in files if path.suffix == ".parquet"]


def read_tables(source: Source) -> Iterator[RawReference | BadRecord]:
    """
    Reads rows of parquet; raises `PreparationError` for a damaged file and for one that lacks a column that was named.
    """

    def make(index: int, row: dict[str, Any]) -> RawReference:
        record = {name: row[column] for name, column in columns.items()}
        return _reference(index, record, source, path, source.split_of(path))

    for path in source.files:
        with reading(path):
            columns = _columns(source, path, parquet.read_schema(path).names)
            rows = read_rows([path], list(columns.values()), batch_size=32)
            yield from read_each(enumerate(rows), make, source.name_of(path))


def _columns(source: Source, path: Path, there: list[str]) -> dict[str, str]:
    """The columns of a table by the names that are used here: those given, otherwise those of the same name."""
    expressions = next((name for name in SENTENCE_FIELDS if name in there), "expressions")
    usual = {name: name for name in NAMED_BY_COLUMNS} | {"expressions": expressions}
    columns = {name: column for name, column in usual.items() if column in there} | source.columns
    missing = [name for name in NAMED_BY_COLUMNS[:3] if name not in columns]
    missing += [column for column in columns.values() if column not in there]
    if missing:
        raise PreparationError(
            f"{str(path)!r} has no column {' and no '.join(map(repr, missing))}; there are {', '.join(there)}",
            hint="--columns image=… mask=… expressions=… says which are meant",
        )
    return columns


def _reference(index: int, record: Any, source: Source, path: Path, split: str) -> RawReference:
    image = take(record, "image", (str, dict), "a file name")
    if "mask" not in record:
        raise BadRecord("the field 'mask' is missing; null stands for a sentence that means nothing in the image")
    content = image["bytes"] if isinstance(image, dict) and isinstance(image.get("bytes"), bytes) else None
    if content is not None:
        name = hashlib.blake2b(content, digest_size=8).hexdigest()  # names in tables need not differ
    else:
        name = source.images.find_relative(image if isinstance(image, str) else take(image, "path", str, "a file name"))
    hull = box_from_xyxy(record["box"]) if record.get("box") is not None else None
    values = record.get("mask_values")
    values = None if values is None else tuple(whole_number(value, "mask_values") for value in as_list(values))
    objects = [_object(number, mask, values, hull, source) for number, mask in enumerate(_masks(record["mask"]))]
    if not objects and hull is not None:
        raise BadRecord(f"it has the box {shortened(record['box'])}, but no mask")
    return RawReference(
        index=index,
        origin=source.name_of(path),
        split=str(record.get("split") or split),
        ref_id=identifier(record["ref_id"] if record.get("ref_id") is not None else index),
        image_id=name,
        images=(name,),
        image_bytes=content,
        category=str(record.get("category") or ""),
        expressions=sentences_of(said_in(record)),
        objects=objects,
        source="own",
        upright=True,
        empty_is_no_target=True,
        licence=str(record.get("licence") or record.get("license") or "unknown"),
    )


def _masks(value: Any) -> list[Any]:
    """The mask of each object: a file name, a stored file, run lengths, or a list of polygons."""
    masks = [] if value is None else as_list(value)
    if isinstance(value, list) and masks and all(isinstance(part, int | float) for part in masks):
        return [[masks]]
    if masks and all(isinstance(part, list) for part in masks):  # polygons of one object, or of several
        return [masks] if all(isinstance(number, int | float) for part in masks for number in part) else masks
    if not all(isinstance(part, str | dict) for part in masks):
        raise BadRecord(f"the field 'mask' must be a file name, a list of them or null, got {shortened(value)}")
    return masks


def _object(number: int, mask: Any, values: tuple[int, ...] | None, hull: Any, source: Source) -> RawObject:
    if isinstance(mask, str):
        file = str(source.masks.find((mask, f"masks/{mask}")))
        return RawObject(mask, mask_file=file, mask_values=values, box_xyxy=hull)
    if isinstance(mask, dict) and "counts" not in mask:
        stored = take(mask, "bytes", bytes, "a stored file")
        mask = run_lengths.encode(read_mask_file(stored, values))
    return RawObject(str(number), segmentation=mask, box_xyxy=hull)
