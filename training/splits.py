# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Which references a run trains on and which it validates on; only a split for training is ever trained on."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, Image

from .arguments import DataArguments
from .config_files import Settings
from .data.prepared import load_prepared, shards_by_split, split_role
from .preparation.prepare import prepare
from .preparation.readers.images import shared_image_name
from .preparation.readers.records import PreparationError
from .preparation.settings import PreparationSettings

# Names that say what a split is for; every other one is used only where it is asked for.
USUAL_NAMES = {"train": ("train", "training"), "validation": ("val", "validation", "valid", "dev")}


class Source(NamedTuple):
    """Prepared references: what the user calls them, and where they lie."""

    name: str
    folder: Path


def open_references(settings: Settings, accelerator) -> tuple[Dataset, Dataset]:
    """
    Returns the references to train on and those to validate on, and prints where they come from.

    Trained on is the split that `train_split` or its name says to be for training, and nothing else. Validated on is
    the split that `eval_split` or its name says to be for validation, of the data given for it or of the same data;
    where there is none, `eval_fraction` of the training images are kept back.

    Raises:
        ValueError: A folder cannot be used, or has no such split.
    """
    data, optimization = settings.data, settings.optimization
    with accelerator.main_process_first():
        prepared = Path(optimization.output_dir) / "prepared"
        source, eval_source = open_sources(data, prepared, renew=accelerator.is_main_process)
        train_split = find_split(source, data.train_split, "train", "train_split")
        if eval_source is not None:
            eval_split = find_split(eval_source, data.eval_split, "validation", "eval_split", only_one_will_do=True)
        else:
            eval_split = find_split(source, data.eval_split, "validation", "eval_split", optional=True)
        train_rows = load_prepared(source.folder, train_split)
        if eval_split is not None:
            eval_rows = load_prepared((eval_source or source).folder, eval_split)
            where = f"split {eval_split!r} of {(eval_source or source).name}"
        else:
            train_rows, eval_rows = keep_back(train_rows, data.eval_fraction, optimization.seed)
            where = "images of it that are kept back"
    train_rows, eval_rows = _first(train_rows, data.max_train_references), _first(eval_rows, data.max_eval_references)
    if accelerator.is_main_process:
        print(f"training on split {train_split!r} of {source.name}: {_counts(train_rows)}")
        print(f"validating on {where}: {_counts(eval_rows)}")
        unused = set(shards_by_split(source.folder)) - {train_split, None if eval_source else eval_split}
        if unused:
            print(f"not used: {', '.join(sorted(unused))}")
        both = images_in_both(train_rows, eval_rows, by_content=data.train_dir is not None)
        if both:
            print(f"note: {len(both)} images are trained and validated on, such as {both[0]}; scores on them flatter")
    return train_rows, eval_rows


def open_sources(data: DataArguments, output: Path, *, renew: bool) -> tuple[Source, Source | None]:
    """
    Returns what is trained on and, where it is something else, what is validated on; prepares custom datasets in
    `output`, once more where they are to be renewed.
    """
    named = {"train": data.train_dir or data.dataset, "eval": data.eval_dir or data.eval_dataset}
    if data.train_dir is None:
        folders = {role: Path(str(name)) for role, name in named.items()}
    else:
        folders = {role: output / role for role in named}
    for role, name in named.items():
        if data.train_dir is None or name is None:
            continue
        if renew:
            for earlier in (folders[role], output / f"{role}.partial"):
                shutil.rmtree(earlier, ignore_errors=True)
        if not folders[role].exists():
            try:
                report = prepare(PreparationSettings("custom", name, **(data.preparation or {})), folders[role])
            except PreparationError as error:
                hint = f"; or prepare it by ssp-sam prepare, where {error.hint}, and give it as --dataset"
                raise ValueError(f"{role}_dir {name!r}: {error}{hint if error.hint else ''}") from error
            print(f"{role}_dir {name!r}: {report['format']}")
    train, validation = (None if name is None else Source(name, folders[role]) for role, name in named.items())
    return train, validation


def check_folders(data: DataArguments):
    """Raises a `ValueError` for data that is not there, which is worth knowing before a model is loaded."""
    options = [name for name in PreparationSettings.__dataclass_fields__ if name not in ("benchmark", "annotations")]
    for name in data.preparation or {}:
        if name not in options:
            raise ValueError(f"preparation may name {', '.join(options)}, got {name!r}")
    for name in ("dataset", "eval_dataset", "train_dir", "eval_dir", "feature_cache"):
        value = getattr(data, name)
        on_the_hub = name.endswith("_dir") and (data.preparation or {}).get("format") == "table"
        if value is not None and not Path(value).exists() and not on_the_hub:
            raise ValueError(f"there is no folder {name} {value!r} in {os.getcwd()!r}")


def find_split(
    source: Source,
    wanted: str | None,
    role: str,
    option: str,
    *,
    only_one_will_do: bool = False,
    optional: bool = False,
) -> str | None:
    """
    Returns the split of a benchmark that is wanted, or the one whose name says that it is for a role, as `split_role`
    tells; None where none is and none need be.

    Args:
        option: Setting that names the split, for messages.
        only_one_will_do: Whether a lone split is taken whatever its name.

    Raises:
        ValueError: There is no such split, or there are several.
    """
    splits = list(shards_by_split(source.folder))
    if wanted is not None:
        if wanted not in splits:
            raise ValueError(f"{option} must be a split of {source.name!r} ({', '.join(splits)}), got {wanted!r}")
        return wanted
    found, usual = [split for split in splits if split_role(split) == role], USUAL_NAMES[role]
    if not found and only_one_will_do and len(splits) == 1:
        return splits[0]
    if len(found) > 1 or not (found or optional):
        problem = f"has several of {', '.join(usual)}" if found else f"has no split called {' or '.join(usual)}"
        raise ValueError(f"{source.name!r} {problem}: there are {', '.join(splits)}; name one with --{option}")
    return found[0] if found else None


def keep_back(rows: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divides references by image, at random; raises `ValueError` where there are fewer than two images."""
    ids = np.asarray(rows["image_id"])
    images = np.unique(ids)
    if len(images) < 2:
        raise ValueError(
            f"the training split has {len(images)} image, too few to keep one back for validation; give validation "
            f"data of its own (eval_dir, or eval_dataset)"
        )
    count = min(len(images) - 1, max(1, round(fraction * len(images))))
    kept = np.isin(ids, np.random.default_rng(seed).permutation(images)[:count])
    return rows.select(np.flatnonzero(~kept)), rows.select(np.flatnonzero(kept))


def images_in_both(train_rows: Dataset, eval_rows: Dataset, *, by_content: bool) -> list[str]:
    """Returns the names of the images that two sets of references share."""
    train_images, eval_images = (_image_names(rows, by_content) for rows in (train_rows, eval_rows))
    return [name for key, name in eval_images.items() if key in train_images]


def _image_names(rows: Dataset, by_content: bool) -> dict[Any, str]:
    """Returns the names of the images of references by what tells them apart: their files' bytes, or their ids."""
    columns = rows.select_columns(["source", "image_id"]).to_dict()
    found = {}
    for index, (source, image_id) in enumerate(zip(columns["source"], columns["image_id"], strict=True)):
        found.setdefault(shared_image_name(source, image_id, {}), (index, image_id))
    if not by_content:
        return {key: image_id for key, (_, image_id) in found.items()}
    files = rows.select_columns(["image"]).cast_column("image", Image(decode=False))
    return {_checksum(files[index]["image"]): image_id for index, image_id in found.values()}


def _checksum(image: dict[str, Any]) -> bytes:
    content = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    return hashlib.sha256(content).digest()


def _counts(rows: Dataset) -> str:
    expressions = sum(map(len, rows["expressions"]))
    return f"{len(set(rows['image_id'])):,} images, {expressions:,} expressions"


def _first(rows: Dataset, count: int | None) -> Dataset:
    if len(rows) == 0:
        raise ValueError("a split has no references; prepare it again, or name another")
    return rows if count is None else rows.select(range(min(count, len(rows))))
