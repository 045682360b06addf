# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Writing a feature cache: one run at a time, shard by shard, going on where a former run ended."""

import hashlib
import shutil
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .cache import check_identity
from .index import INDEX_NAME, PARTIAL_FOLDER, FeatureCacheError, FeatureIndex, write_aside

_SHARD_GLOB = "features-*.safetensors"
_LOCK_NAME = ".writing"


@contextmanager
def writing_to(folder: str | Path):
    """
    Makes the folder and keeps other runs from writing into it; the claim ends with the process, however that ends.

    Raises:
        FeatureCacheError: Another run is writing, or the folder cannot be made.
    """
    import fcntl  # not on every system, where caches can still be read

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / _LOCK_NAME, "w")  # noqa: SIM115
    except OSError as error:
        raise FeatureCacheError(f"cannot write into {str(folder)!r}: {error.strerror}") from error
    with stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FeatureCacheError(f"another run is writing into {str(folder)!r}; wait until it has ended") from error
        yield


def resume_index(folder: str | Path, fresh: FeatureIndex) -> FeatureIndex:
    """
    Returns the index to go on from: that of the folder, with every complete shard that is there and no other.

    Half-written files of a former run are removed, and so are shards that cannot be read.

    Args:
        folder: Folder of the cache, claimed by `writing_to`.
        fresh: The empty index of the features wanted.

    Raises:
        FeatureCacheError: The folder holds features of another encoder, or of other settings.
    """
    folder = Path(folder)
    shutil.rmtree(folder / PARTIAL_FOLDER, ignore_errors=True)
    index = fresh
    if (folder / INDEX_NAME).exists():
        index = FeatureIndex.load(folder)
        check_same_settings(folder, index, fresh)
    index.shards = {}
    for path in sorted(folder.glob(_SHARD_GLOB)):
        keys = _read_keys(path, index.settings_digest)
        if keys is None:
            path.unlink()
        else:
            index.shards[path.name] = {"bytes": path.stat().st_size, "keys": keys}
    index.save(folder)
    return index


def check_same_settings(folder: str | Path, stored: FeatureIndex, wanted: FeatureIndex):
    """
    Compares what a cache holds with what a run would write.

    Raises:
        FeatureCacheError: They differ; the message names both.
    """
    for name in stored.features.keys() & wanted.features.keys():
        check_identity(folder, name, stored.features[name]["identity"], wanted.features[name]["identity"])
    for what in ("features", "dtype", "computed_in"):
        values = [getattr(index, what) for index in (stored, wanted)]
        if values[0] != values[1]:
            there, asked = (" and ".join(value) if what == "features" else value for value in values)
            raise FeatureCacheError(
                f"{str(folder)!r} was begun with {what} {there}, got {asked}; "
                f"go on with the same, or use another folder"
            )


def write_shard(folder: str | Path, index: FeatureIndex, keys: list[str], features: dict[str, torch.Tensor]) -> str:
    """
    Writes the features of n images as one shard, complete or not at all.

    Args:
        folder: Folder of the cache.
        index: Its index, which is not changed.
        keys: The images' keys.
        features: For each feature of the index a tensor whose first dimension is n, of the index's dtype.

    Returns:
        The shard's name, which follows from its keys.

    Raises:
        FeatureCacheError: It cannot be written.
    """
    digits = bytes.fromhex("".join(keys))
    name = f"features-{hashlib.sha256(digits).hexdigest()[:16]}.safetensors"
    tensors = {**features, "keys": torch.frombuffer(bytearray(digits), dtype=torch.uint8).reshape(len(keys), -1)}
    metadata = {"settings": index.settings_digest}
    write_aside(Path(folder) / name, lambda path: save_file(tensors, path, metadata))
    return name


def check_room(folder: str | Path, index: FeatureIndex, num_images: int):
    """
    Compares the free space with what is still to be written.

    Raises:
        FeatureCacheError: There is less.
    """
    free, needed = shutil.disk_usage(folder).free, num_images * index.value_bytes
    if needed > free:
        raise FeatureCacheError(
            f"the features of {num_images} images need {needed / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are free at "
            f"{str(folder)!r}; make room or use another disk"
        )


def _read_keys(path: Path, settings: str) -> list[str] | None:
    """Returns the keys of a shard, or None if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as stored:
            metadata, rows = stored.metadata() or {}, stored.get_tensor("keys")
    except (SafetensorError, OSError):
        return None
    if metadata.get("settings") != settings:
        raise FeatureCacheError(
            f"{str(path)!r} is a shard of other features than the index's; move it out of the folder, or use another"
        )
    return [bytes(row.tolist()).hex() for row in rows]
