# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How a collection is annotated; the options of `ssp-sam annotate` are made of these fields."""

from dataclasses import dataclass

from ..training.options import check_limits, option


@dataclass(frozen=True)
class AnnotationOptions:
    """
    How a collection is annotated, as the help of each field explains it.

    Args:
        coco: Whether `instances.json` is written.
    """

    cutouts: bool = option(False, "also what was found, as transparent PNGs")
    split: str = option("train", "split to read, where there are several, and to write", metavar="NAME")
    batch_size: int = option(8, "most images encoded at once", above=0)
    batch_megapixels: float = option(64.0, "most pixels of them, in millions", above=0)
    expression_batch_size: int = option(64, "most expressions decoded at once")
    max_megapixels: float = option(50.0, "most pixels of an image, in millions", above=0)
    shard_size: int = option(1000, "images of a shard, where the source has no shards of its own", above=0)
    workers: int = option(1, "threads that decode images", above=0)
    max_failures: int | None = option(None, "images that may be unusable (default: any number)", least=0)
    coco: bool = False

    def __post_init__(self):
        check_limits(self)
        if not self.split.replace("_", "").isalnum():
            raise ValueError(f"a split's name must be of letters and digits, got {self.split!r}")
