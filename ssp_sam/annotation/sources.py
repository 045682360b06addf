# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Where the images of a collection lie, and the shards in which they are read."""

import glob
import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow.parquet as parquet

from ..processing.image_files import SUFFIXES
from ..training.data.prepared import shards_by_split

# Names of the column with the images, where no column is known to hold some.
IMAGE_NAMES = ("image", "img", "photo", "picture", *(suffix[1:] for suffix in SUFFIXES))
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


class Source(NamedTuple):
    """Images in shards."""

    name: str  # what the collection is called
    num_shards: int  # how many shards there are
    num_rows: int | None  # how many rows there are, `None` where only reading them would tell
    facts: dict[str, Any]  # what must be the same for an unfinished annotation to be gone on with; ready for JSON
    # Given the index of a shard, yields its rows: mappings with `image`, undecoded, with `image_id`, and with the other
    # columns of the source
    rows: Callable[[int], Iterator[dict[str, Any]]]
    has_columns: bool = True  # whether rows may have more than an image and its id


class UnreadableRest(ValueError):
    """What follows in a shard cannot be read, as where a file was cut off; the message says why."""


def open_source(source: Any, *, split: str = "train", shard_size: int = 1000) -> Source:
    """
    Opens a collection of images.

    Args:
        source: A folder of images, with those in its folders; a glob; a text file that lists images, one in each line;
            webdataset's tars (a file, a glob, a folder of them); parquet files (likewise, prepared benchmarks among
            them); a folder of `Dataset.save_to_disk`; the id of a dataset on the Hub, `owner/name` or
            `owner/name@revision`, which is streamed; a list of images; or a `datasets.Dataset` or `IterableDataset`.
        split: Of a dataset that has several.
        shard_size: Images of one shard, where the source has no files of several images that are its shards.

    Raises:
        ValueError: There is no such source, or it has no images.
    """
    if isinstance(source, datasets.Dataset):
        return _of_dataset(source, "dataset", {"rows": len(source), "columns": source.column_names}, shard_size)
    if isinstance(source, datasets.IterableDataset):
        return _of_stream(source, "dataset", {"shards": source.num_shards})
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _of_images(list(source), "images", shard_size)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"expected a path, a dataset or a list of images, got {type(source).__name__}")
    return _of_path(os.fspath(source), split, shard_size)


def _of_path(path: str, split: str, shard_size: int) -> Source:
    name = Path(path.rstrip("/")).resolve().name or "images"
    if os.path.isdir(path):
        if Path(path, "state.json").is_file():
            rows = datasets.load_from_disk(path)
            return _of_dataset(rows, name, {"rows": len(rows), "columns": rows.column_names}, shard_size)
        if Path(path, "dataset_dict.json").is_file():
            return _of_path(os.path.join(path, split), split, shard_size)
        if any(Path(path, "data").glob("*-*-of-*.parquet")):
            splits = shards_by_split(path)
            if split not in splits:
                raise ValueError(f"no split {split!r} in {path!r}; there are {', '.join(sorted(splits))}")
            return _of_parquet([str(file) for file in splits[split]], name)
        files = sorted(str(file) for file in Path(path).rglob("*") if file.is_file() and _is_visible(file, path))
    elif glob.has_magic(path) and not os.path.exists(path):
        files, name = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file)), "images"
    elif os.path.isfile(path):
        files, name = [path], Path(path).stem
    elif _HUB_ID.fullmatch(path):
        return _of_hub(path, split)
    else:
        raise ValueError(f"no folder, file, glob or dataset of the Hub at {path!r}")
    for suffix, opened in ((".tar", _of_tars), (".parquet", _of_parquet)):
        if chosen := [file for file in files if file.endswith(suffix)]:
            return opened(chosen, name)
    if len(files) == 1 and files[0].endswith(".txt"):
        return _of_images(_listed(files[0]), name, shard_size)
    images = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not images:
        raise ValueError(f"no images, tars or parquet files at {path!r}")
    root = path if os.path.isdir(path) else None
    return _of_images(images, name, shard_size, root)


def _is_visible(file: Path, root: str) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _listed(path: str) -> list[str]:
    """The images that a text file names, each as it is or beside the file."""
    lines = [line.strip() for line in Path(path).read_text("utf-8-sig").splitlines() if line.strip()]
    beside = Path(path).parent
    return [line if os.path.exists(line) or "://" in line else str(beside / line) for line in lines]


# ---- kinds of sources ------------------------------------------------------------------------------------------------


def _of_images(images: list[Any], name: str, shard_size: int, root: str | None = None) -> Source:
    if not images:
        raise ValueError("expected at least one image, got none")
    ids = [_image_id(image, number, root) for number, image in enumerate(images)]

    def rows(shard: int) -> Iterator[dict[str, Any]]:
        for number in range(shard * shard_size, min((shard + 1) * shard_size, len(images))):
            image = images[number]
            if isinstance(image, str | os.PathLike) and "://" not in os.fspath(image):
                image = {"bytes": None, "path": os.path.abspath(image)}
            yield {"image": image, "image_id": ids[number]}

    digest = hashlib.sha256("\0".join(ids).encode(errors="surrogateescape")).hexdigest()[:16]
    facts = {"images": len(images), "names": digest, "shard_size": shard_size}
    return Source(name, -(-len(images) // shard_size), len(images), facts, rows, has_columns=False)


def _image_id(image: Any, number: int, root: str | None) -> str:
    if isinstance(image, str | os.PathLike):
        path = os.path.relpath(image, root) if root is not None else os.fspath(image)
        return path.encode(errors="replace").decode()
    return f"{number:08d}"


def _of_tars(files: list[str], name: str) -> Source:
    facts = {"tars": [[os.path.abspath(file), os.path.getsize(file)] for file in files]}
    return Source(name, len(files), None, facts, lambda shard: _tar_rows(files[shard]))


def _tar_rows(path: str) -> Iterator[dict[str, Any]]:
    """Rows of one tar as webdataset has them: files that follow each other and share their name up to the first dot."""
    row: dict[str, Any] = {}
    try:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, ending = file.partition(".")
                if not member.isfile() or not stem or not ending:
                    continue
                key = f"{folder}/{stem}".lstrip("./")
                if row and row["__key__"] != key:
                    yield _with_image(row)
                    row = {}
                content = tar.extractfile(member).read()  # pyright: ignore[reportOptionalMemberAccess]
                row |= {"__key__": key, "image_id": f"{Path(path).stem}/{key}", ending.lower(): content}
            if os.path.getsize(path) < tar.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it has no end")
    except (tarfile.TarError, OSError) as error:
        if row:
            yield _with_image(row)
        raise UnreadableRest(f"the rest of {path!r} cannot be read ({error})") from error
    if row:
        yield _with_image(row)


def _with_image(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a tar with its image under that name, and texts as text."""
    named = next((name for name in row if f".{name.rpartition('.')[2]}" in SUFFIXES), None)
    image = None if named is None else {"bytes": row.pop(named), "path": f"{Path(row['__key__']).name}.{named}"}
    for name, content in row.items():
        if isinstance(content, bytes):
            with suppress(UnicodeDecodeError):
                row[name] = content.decode("utf-8")
    return {**row, "image": image}


def _of_parquet(files: list[str], name: str) -> Source:
    facts = {"parquet": [[os.path.abspath(file), os.path.getsize(file)] for file in files]}
    try:
        stream = datasets.load_dataset("parquet", data_files={"train": files}, split="train", streaming=True)
    except Exception as error:  # its readers fail in many ways
        raise ValueError(f"cannot read the parquet files of {name!r}: {error}") from error
    number = sum(parquet.read_metadata(file).num_rows for file in files)
    return _of_stream(stream, name, facts)._replace(num_rows=number)


def _of_hub(name: str, split: str) -> Source:
    owner_name, _, revision = name.partition("@")
    try:
        stream = datasets.load_dataset(owner_name, split=split, revision=revision or None, streaming=True)
    except Exception as error:  # of the network, of the Hub, of what is there
        raise ValueError(f"cannot open the dataset {name!r} on the Hub: {error}") from error
    return _of_stream(stream, owner_name, {"dataset": name, "split": split, "shards": stream.num_shards})


def _of_dataset(rows: datasets.Dataset, name: str, facts: dict[str, Any], shard_size: int) -> Source:
    if not len(rows):
        raise ValueError(f"expected at least one row in {name!r}, got none")
    number = -(-len(rows) // shard_size)
    stream = rows.to_iterable_dataset(num_shards=number)
    return _of_stream(stream, name, {**facts, "shards": number})._replace(num_rows=len(rows))


def _of_stream(stream: datasets.IterableDataset, name: str, facts: dict[str, Any]) -> Source:
    features = stream.features or {}
    columns = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    for column in columns:
        stream = stream.cast_column(column, datasets.Image(decode=False))
    columns = columns or [column for column in IMAGE_NAMES if column in features]
    if features and not columns:
        raise ValueError(f"no column of {name!r} holds images; there are {', '.join(features)}")

    def rows(shard: int) -> Iterator[dict[str, Any]]:
        for index, row in enumerate(stream.shard(stream.num_shards, shard)):
            own = columns or [column for column in IMAGE_NAMES if column in row]
            image = next((row[column] for column in own if row[column] is not None), None)
            yield {"image_id": f"{shard:05d}/{index:06d}", **row, "image": image}

    return Source(name, stream.num_shards, None, facts, rows)


def columns_of(row: Mapping[str, Any]) -> str:
    """Returns the names of a row's columns, for a sentence."""
    return ", ".join(sorted(map(str, row)))
