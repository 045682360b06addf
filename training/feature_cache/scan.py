# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Finds the distinct images among many rows, by their content and not by their ids."""

from collections import defaultdict
from dataclasses import dataclass, field

from accelerate import Accelerator
from accelerate.utils import gather_object, tqdm
from torch.utils.data import Dataset

from .image_keys import file_key, image_key


@dataclass
class ImageScan:
    """
    The distinct images among the rows of a source.

    Args:
        rows: The first row of each image, by its key.
        files: The image's key by its file's key.
        unreadable: One sentence for each row that holds no readable image.
        num_rows: Rows seen.
        ids_of_several_images: Image ids under which there are different pictures.
        images_of_several_ids: Keys of pictures that have more than one id.
    """

    rows: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    num_rows: int = 0
    ids_of_several_images: list[str] = field(default_factory=list)
    images_of_several_ids: list[str] = field(default_factory=list)


def scan_images(source: Dataset, known_files: dict[str, str], accelerator: Accelerator) -> ImageScan:
    """
    Finds the distinct images of a source; every process reads its share of the rows and all get the same answer.

    Args:
        source: Rows of (image id, image), such as `PreparedImages`.
        known_files: Key of an image by the key of its file, for files that need not be decoded again.
        accelerator: The run's `Accelerator`.
    """
    count, rank, world = len(source), accelerator.process_index, accelerator.num_processes  # pyright: ignore
    share = range(count * rank // world, count * (rank + 1) // world)
    files = dict(known_files)
    found: list[tuple[int, str, str | None, str | None, str]] = []
    for row in tqdm(share, desc="reading images", unit="row", leave=False):
        name, key, file, problem = f"row {row}", None, None, ""
        try:
            name, image = source[row]
            file = file_key(image)
            key = files.get(file or "") or image_key(image)
            if file is not None:
                files[file] = key
        except (ValueError, OSError) as error:
            problem = f"{name}: {error}"
        found.append((row, name, file, key, problem))
    return _merge(gather_object(found))


def _merge(found: list[tuple]) -> ImageScan:
    scan = ImageScan(num_rows=len(found))
    keys_of, ids_of = defaultdict(set), defaultdict(set)
    for row, name, file, key, problem in found:
        if problem:
            scan.unreadable.append(problem)
            continue
        scan.rows.setdefault(key, row)
        if file is not None:
            scan.files[file] = key
        keys_of[name].add(key)
        ids_of[key].add(name)
    scan.ids_of_several_images = sorted(name for name, keys in keys_of.items() if len(keys) > 1)
    scan.images_of_several_ids = sorted(key for key, names in ids_of.items() if len(names) > 1)
    return scan
