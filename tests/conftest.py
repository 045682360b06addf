# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Tiny random models and pictures that every test can use, offline and in seconds."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as in training/train.py: the same numbers wherever operands lie

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from ssp_sam import ReferringSegmentationPipeline
from tests.helpers.models import make_image, make_pipeline


@pytest.fixture(scope="session", params=["single tower", "two towers"])
def segmenter(request) -> ReferringSegmentationPipeline:
    """A tiny random pipeline of each kind; tests must not change it."""
    return make_pipeline(single_tower=request.param == "single tower")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> str:
    """A folder with a tiny random single-tower model and its processor; tests must not change it."""
    folder = tmp_path_factory.mktemp("tiny-checkpoint")
    make_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session", autouse=True)
def own_datasets_cache(tmp_path_factory):
    """Keeps what `datasets` writes, here and in processes that tests start, out of the user's cache."""
    folder = str(tmp_path_factory.mktemp("datasets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", folder)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(autouse=True)
def keep_process_state():
    """Undoes what a training says to the whole process: its number format and its threads."""
    threads = torch.get_num_threads()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.fixture
def image() -> Image.Image:
    return make_image()
