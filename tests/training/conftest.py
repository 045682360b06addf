# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A small model of two towers, a benchmark of five images, and the cache of one's features for the other's images."""

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.benchmark import write_benchmark
from tests.helpers.feature_caches import cache_features, encoded, image_row
from tests.helpers.models import make_image, make_pipeline


@pytest.fixture(scope="session")
def five_images() -> list[Image.Image]:
    return [make_image(width=40 + number, seed=number) for number in range(5)]


@pytest.fixture(scope="session")
def five_image_benchmark(tmp_path_factory, five_images) -> Path:
    """Two rows for each image; besides, one image under a second id, and one id with a second image."""
    rows = [image_row(str(number), encoded(image)) for number, image in enumerate(five_images) for _ in range(2)]
    rows[9] = image_row("another id", encoded(five_images[0], "BMP"))
    rows[7] = image_row("0", encoded(five_images[3]))
    return write_benchmark(tmp_path_factory.mktemp("benchmark") / "data", {"train": rows})


@pytest.fixture(scope="session")
def two_towers():
    """A pipeline; tests must not change it."""
    return make_pipeline(single_tower=False)


@pytest.fixture(scope="session")
def two_tower_folder(tmp_path_factory, two_towers) -> Path:
    folder = tmp_path_factory.mktemp("two-towers")
    two_towers.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def five_image_cache(tmp_path_factory, two_tower_folder, five_image_benchmark) -> Path:
    """A finished cache with both features; tests must not change it."""
    output = tmp_path_factory.mktemp("features") / "cache"
    assert cache_features(two_tower_folder, five_image_benchmark, output, "--with-patches") == 0
    return output
