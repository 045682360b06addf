# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Where images come from, as sequences of (image id, image), the image as far undecoded as it lies there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from PIL import Image
from torch.utils.data import Dataset

from .data.prepared import load_prepared, shards_by_split
from .scenes.dataset import SceneDataset


class PreparedImages(Dataset):
    """
    The picture of every reference of a prepared benchmark, undecoded.

    Args:
        folder: What `scripts/prepare_refer_dataset.py` wrote.
        splits: Splits that count; all of them when not given.

    Raises:
        ValueError: There is no such benchmark or split.
    """

    def __init__(self, folder: str | Path, splits: Sequence[str] | None = None):
        parts = [load_prepared(folder, split) for split in splits or shards_by_split(folder)]
        rows = datasets.concatenate_datasets(parts).select_columns(["source", "image_id", "image"])
        self._rows = rows.cast_column("image", datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> tuple[str, Any]:
        row = self._rows[number]
        return f"{row['source']}/{row['image_id']}", row["image"]


class PictureFiles(Dataset):
    """
    Picture files, named by their paths.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[str | Path]):
        self._paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> tuple[str, Any]:
        return self._paths[number], self._paths[number]


class SceneImages(Dataset):
    """
    Rendered scenes as they are on the canvas, without its padding.

    Args:
        folder: What `render_scenes` returned.

    Raises:
        ValueError: There are no rendered scenes.
    """

    def __init__(self, folder: str | Path):
        records = sorted(Path(folder).glob("objects_*.jsonl"))
        if not records:
            raise ValueError(f"no rendered scenes in {str(folder)!r}; scripts/render_scenes.py makes them")
        count = sum(len(path.read_bytes().splitlines()) for path in records)
        self._scenes = SceneDataset(folder, split="test", num_scenes=count)  # the split only chooses sentences

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, number: int) -> tuple[str, Any]:
        item = self._scenes[0, number]
        height, width = item["valid_hw"]
        return f"scene {number}", Image.fromarray(item["image"][:height, :width])
