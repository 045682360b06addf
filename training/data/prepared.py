# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Prepared benchmarks: one schema for all of them, on disk as parquet that `datasets.load_dataset(folder)` opens.

One row is one reference: what is meant in one image, and the sentences that mean it. `FEATURES` names the columns;
`docs/data.md` explains each. `ssp-sam prepare` writes such folders.
"""

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as parquet
from datasets import Dataset, Features, Image, List, Value, config, load_dataset

from ...processing.image_inputs import read_rgb
from .masks import decode

REPORT_NAME = "report.json"
# Columns that predictions may have beside the others, and that training does not read.
PREDICTION_FEATURES = Features({"score": Value("float32"), "fingerprint": Value("string"), "reason": Value("string")})

FEATURES = Features(
    {
        "image": Image(),
        "image_id": Value("string"),
        "size_hw": List(Value("int32"), length=2),
        "ref_id": Value("string"),
        "ann_ids": List(Value("string")),
        "category": Value("string"),
        "expressions": List(Value("string")),
        "split": Value("string"),
        "masks": List({"size": List(Value("int32"), length=2), "counts": Value("string")}),
        "box_xyxy": List(Value("float32")),
        "no_target": Value("bool"),
        "source": Value("string"),
        "licence": Value("string"),
    }
)

# What a split is for, by its name in lower case; a year may follow, and the halves of a test.
_ROLES = {
    "train": r"(train|training)(_?\d{4})?",
    "validation": r"(val|validation|valid|dev|eval|evaluation|miniv|minival)(_?\d{4})?",
    "test": r"(test|testing)([-_]?[a-z0-9]*)",
}
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\.parquet")


def shards_by_split(folder: str | Path) -> dict[str, list[Path]]:
    """
    Returns the parquet files of a prepared benchmark, in order, by split.

    Raises:
        ValueError: There is no such folder, it holds no prepared benchmark, or a file of a split is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; ssp-sam prepare makes one")
    shards: dict[str, list[Path]] = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        named = _SHARD.fullmatch(path.name)
        if named:
            shards.setdefault(named["split"], []).append(path)
    if not shards:
        raise ValueError(
            f"no prepared benchmark in {str(folder)!r}: expected data/<split>-00000-of-00001.parquet; "
            f"ssp-sam prepare makes it"
        )
    for split, paths in shards.items():
        expected = int(paths[0].stem.rsplit("-", 1)[1])
        if len(paths) != expected:
            raise ValueError(
                f"split {split!r} in {str(folder)!r} has {len(paths)} of {expected} files; prepare it again"
            )
    return shards


def read_rows(
    paths: Iterable[Path], columns: Sequence[str] | None = None, batch_size: int = 1024
) -> Iterator[dict[str, Any]]:
    """Yields the rows of parquet files in order, as many held at once as a batch has; all columns when not given."""
    for path in paths:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size, columns=columns, use_threads=False):
                yield from batch.to_pylist()


def load_prepared(folder: str | Path, split: str) -> Dataset:
    """
    Opens one split of a prepared benchmark; rows are mapped from disk and images are read when asked for.

    Args:
        folder: What `ssp-sam prepare` wrote.
        split: As the benchmark names it, such as "train", "val" or "testA".

    Returns:
        `datasets.Dataset`: with the columns of `FEATURES`.

    Raises:
        ValueError: There is no such benchmark or split, its columns are others, or its images have moved.
    """
    shards = shards_by_split(folder)
    if split not in shards:
        raise ValueError(f"no split {split!r} in {str(folder)!r}; there are {', '.join(sorted(shards))}")
    for path in shards[split]:
        columns = set(parquet.read_schema(path).names) - set(PREDICTION_FEATURES)
        if columns != set(FEATURES):
            missing, unknown = sorted(set(FEATURES) - columns), sorted(columns - set(FEATURES))
            raise ValueError(f"{str(path)!r} is no prepared benchmark: columns missing {missing}, unknown {unknown}")
    files = [str(path) for path in shards[split]]
    options: dict[str, Any] = {"split": split, "features": FEATURES, "columns": list(FEATURES)}
    rows = load_dataset("parquet", data_files={split: files}, cache_dir=_cache_folder(), **options)
    if len(rows):
        image = rows.cast_column("image", Image(decode=False))[0]["image"]
        if image["bytes"] is None and not Path(image["path"]).is_file():
            raise ValueError(
                f"the images of {str(folder)!r} are no longer where they were, such as {image['path']!r}; "
                f"put them back, or prepare the benchmark again"
            )
    return rows


@cache
def _cache_folder() -> str | None:
    """Where rows are mapped from; one of this process alone where the user's cache cannot be written, None for that."""
    with suppress(OSError):
        Path(config.HF_DATASETS_CACHE).mkdir(parents=True, exist_ok=True)
    if os.access(config.HF_DATASETS_CACHE, os.W_OK):
        return None
    folder = tempfile.mkdtemp(prefix="ssp-sam-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def load_suspicions(folder: str | Path) -> dict[tuple[str, str], list[str]]:
    """
    Returns why labels of a prepared benchmark may be wrong, by split and `ref_id`; nothing where there is no report.

    Raises:
        ValueError: The report cannot be read.
    """
    path = Path(folder) / REPORT_NAME
    if not path.is_file():
        return {}
    try:
        references = json.loads(path.read_text("utf-8")).get("plausibility", {}).get("references", {})
        return {(split, ref_id): list(why) for split, of in references.items() for ref_id, why in of.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no report of a preparation ({error}); prepare it again") from error


def split_role(split: str) -> str | None:
    """
    Returns what a split is for by its name: "train", "validation", "test", or None where the name does not say.

    Only splits of the role "train" are ever trained on without being named.
    """
    name = split.lower()
    return next((role for role, names in _ROLES.items() if re.fullmatch(names, name)), None)


def read_image(row: Mapping[str, Any]) -> PIL.Image.Image:
    """
    Returns the image of a row as its masks are drawn on it: upright, 8-bit RGB, transparency on white.

    Args:
        row: One row of a prepared benchmark, its image decoded or not.

    Raises:
        ValueError: The image is missing, damaged, or of another size than the row says; names it.
    """
    named = f"reference {row['source']}/{row['split']}/{row['ref_id']}"
    try:
        image, _ = read_rgb(row["image"])
    except ValueError as error:
        raise ValueError(f"{named}: {error}") from error
    if [image.height, image.width] != list(row["size_hw"]):
        path = f"{row['image']['path']!r} " if isinstance(row["image"], dict) and row["image"]["path"] else ""
        raise ValueError(
            f"{named}: its image {path}has height and width {[image.height, image.width]}, the row "
            f"{list(row['size_hw'])}; prepare the data again"
        )
    return image


def decode_masks(row: Mapping[str, Any]) -> np.ndarray:
    """
    Returns what a reference means, (height, width) bool, the union of its masks; all False where nothing is meant.

    Args:
        row: One row of a prepared benchmark.

    Raises:
        ValueError: A mask is damaged or of another size than the image, or a target has a box alone and no mask.
    """
    height, width = row["size_hw"]
    if not row["masks"] and not row["no_target"]:
        raise ValueError(
            f"reference {row['ref_id']!r} of {row['source']!r} has a box but no mask: it is for box training"
        )
    inside = np.zeros((height, width), dtype=bool)
    for number, rle in enumerate(row["masks"]):
        if list(rle["size"]) != [height, width]:
            raise ValueError(
                f"mask {number} of reference {row['ref_id']!r} has size {list(rle['size'])}, "
                f"its image {[height, width]}"
            )
        inside |= decode(rle)
    return inside


def dataset_fingerprint(folder: str | Path) -> str:
    """
    Returns 16 hexadecimal digits that stand for every row of a prepared benchmark, in order.

    All columns count but the images themselves, so that it is the same whether they are stored or pointed to, and
    into however many files the rows are divided.

    Raises:
        ValueError: There is no prepared benchmark.
    """
    digest = hashlib.sha256()
    columns = [name for name in FEATURES if name != "image"]
    for split, paths in sorted(shards_by_split(folder).items()):
        for row in read_rows(paths, columns):
            content = [split, *(row[name] for name in columns)]
            digest.update(json.dumps(content, separators=(",", ":")).encode())
    return digest.hexdigest()[:16]
