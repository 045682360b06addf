# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Tiny random models and images that every test can use, offline and in seconds.

Fixtures import what they need, since pytest-xdist's first process reads this file and runs no test: torch would keep it
and the workers that it then starts waiting for seconds.
"""

import gc
import os
import shutil
from pathlib import Path

import pytest

gc.disable()  # until everything is imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as in training/train.py: the same numbers wherever operands lie
if "ATEN_CPU_CAPABILITY" in os.environ:  # ATen believes oneDNN that there is AVX-512, so both must leave it out
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def pytest_collection_finish():
    """Keeps the collector of garbage off the two million objects of imported modules, and has it look at all seldom."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session", params=["single tower", "two towers"])
def segmenter(request):
    """A tiny random pipeline of each kind; tests must not change it."""
    from tests.helpers.models import make_pipeline

    return make_pipeline(single_tower=request.param == "single tower")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> str:
    """A folder with a tiny random single-tower model and its processor; tests must not change it."""
    from tests.helpers.models import make_pipeline

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
def keep_process_state(request):
    """Draws torch's random numbers from the seed that the run prints; undoes what a training says to the process."""
    import torch
    from accelerate.state import AcceleratorState

    threads = torch.get_num_threads()
    torch.manual_seed(request.config.getoption("randomly_seed", 0))
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.fixture
def image():
    from tests.helpers.models import make_image

    return make_image()


@pytest.fixture
def rows(tmp_path):
    """The test's rows of docs/robustness.md, which it adds; they are checked when it ends."""
    from tests.helpers.robustness import Rows

    collected = Rows(tmp_path)
    yield collected
    collected.finish()


# ---- a Hub with the authors' repository ------------------------------------------------------------------------------


@pytest.fixture
def hf_home(tmp_path, monkeypatch) -> Path:
    """An empty `HF_HOME` of this process."""
    from tests.helpers.pulling import use_home

    use_home(tmp_path / "hf", monkeypatch)
    return tmp_path / "hf"


@pytest.fixture
def authors_hub(hf_home, monkeypatch):
    """The Hub of this process, with the authors' repository and those of the towers."""
    from tests.helpers.authors_repository import hub_with_authors_repository
    from tests.helpers.pulling import use_hub

    with hub_with_authors_repository() as hub:
        use_hub(hub.url, monkeypatch)
        yield hub
        assert hub.unknown == []


@pytest.fixture(scope="session")
def home_with_model(tmp_path_factory) -> Path:
    """A `HF_HOME` into which a checkpoint of the authors was pulled; tests must not change it."""
    from ssp_sam.modeling_ssp_sam.conversion.pull import pull
    from tests.helpers.authors_repository import AUTHORS, WHOLE, hub_with_authors_repository
    from tests.helpers.pulling import use_home, use_hub

    folder = tmp_path_factory.mktemp("pulled") / "hf"
    with hub_with_authors_repository() as hub, pytest.MonkeyPatch.context() as monkeypatch:
        use_home(folder, monkeypatch)
        use_hub(hub.url, monkeypatch)
        pull(AUTHORS, WHOLE)
    return folder


@pytest.fixture
def pulled(authors_hub, hf_home, home_with_model):
    """The one model that was pulled into `hf_home` before."""
    from ssp_sam.modeling_ssp_sam.conversion.pulled_models import pulled_models

    shutil.copytree(home_with_model, hf_home, symlinks=True)
    [model] = pulled_models()
    return model
