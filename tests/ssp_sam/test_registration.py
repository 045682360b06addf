# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What `import ssp_sam` makes known to transformers."""

import importlib

import numpy as np
import pytest
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForMaskGeneration,
    AutoProcessor,
    pipeline,
)
from transformers.pipelines import PIPELINE_REGISTRY

import ssp_sam
from ssp_sam import (
    EMBEDDED_CHECKPOINT,
    ReferringSegmentationPipeline,
    SspSamConfig,
    SspSamImageProcessor,
    SspSamModel,
    SspSamProcessor,
    registration,
)
from tests.helpers.comparison import results_agree
from tests.helpers.models import make_image, make_pipeline
from tests.helpers.processes import run_in_processes


@pytest.mark.parametrize(
    "auto_class, own_class",
    [
        (AutoConfig, SspSamConfig),
        (AutoModel, SspSamModel),
        (AutoProcessor, SspSamProcessor),
        (AutoImageProcessor, SspSamImageProcessor),
    ],
)
def test_auto_classes_load_a_folder_without_remote_code(auto_class, own_class, tiny_checkpoint):
    assert type(auto_class.from_pretrained(tiny_checkpoint, trust_remote_code=False)) is own_class


def test_the_task_is_registered_with_the_embedded_checkpoint_as_its_default():
    _, task, _ = PIPELINE_REGISTRY.check_task("referring-segmentation")
    assert task["impl"] is ReferringSegmentationPipeline and task["pt"] == (AutoModel,)
    assert task["default"]["model"] == (str(EMBEDDED_CHECKPOINT), None)


def test_public_names_exist():
    assert all(hasattr(ssp_sam, name) for name in ssp_sam.__all__)


def reload(words: list[str]):
    importlib.reload(ssp_sam)
    print(ssp_sam.__version__)


def test_importing_twice_and_reloading_is_harmless(tmp_path):
    assert run_in_processes(reload, [], tmp_path).said().strip() == ssp_sam.__version__


@pytest.mark.skipif(not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint")
def test_the_embedded_checkpoint_is_complete_and_small():
    names = {path.name for path in EMBEDDED_CHECKPOINT.iterdir()}
    assert {"config.json", "processor_config.json", "tokenizer.json", "model.safetensors"} <= names
    assert (EMBEDDED_CHECKPOINT / "model.safetensors").stat().st_size <= 16 * 2**20


@pytest.mark.parametrize("task", ["image-segmentation", "mask-generation"])
def test_the_pipeline_of_another_task_names_the_right_one(task, tiny_checkpoint):
    with pytest.raises(LookupError, match=r"use pipeline\('referring-segmentation', model=\.\.\.\)"):
        pipeline(task, model=tiny_checkpoint)


def test_the_class_of_another_task_names_the_right_one(tiny_checkpoint):
    with pytest.raises(LookupError, match=r"or AutoModel\.from_pretrained"):
        AutoModelForMaskGeneration.from_pretrained(tiny_checkpoint)


def test_one_line_segments_and_keeps_the_model(tiny_checkpoint):
    image = make_image(40, 30)
    [expected] = ssp_sam.pipeline(tiny_checkpoint)(image, "a dog")
    result = ssp_sam.segment(image, "a dog", model=tiny_checkpoint)
    assert results_agree([result], [expected]) and result.mask.size == image.size
    assert [one.label for one in ssp_sam.segment(image, ["a dog", "a cat"], model=tiny_checkpoint)] == [
        "a dog",
        "a cat",
    ]
    before = registration._kept_pipeline.cache_info().misses
    ssp_sam.segment(image, "a cat", model=tiny_checkpoint, mask_threshold=0.3)
    assert registration._kept_pipeline.cache_info().misses == before


def test_a_model_whose_files_change_is_read_again(tmp_path, monkeypatch):
    image, scores = make_image(40, 30), []
    for number, folder in enumerate(("a", "b", "b")):
        segmenter = make_pipeline(seed=number)
        segmenter.save_pretrained(tmp_path / folder / "final")
        monkeypatch.chdir(tmp_path / folder)
        result = ssp_sam.segment(image, "a dog", model="final")
        assert results_agree([result], segmenter(image, "a dog"))
        scores.append(result.score)
    assert len(set(scores)) == 3


@pytest.mark.parametrize(
    "as_several, named",
    [
        (list, "2 in a list"),
        (tuple, "2 in a tuple"),
        (iter, "a list_iterator"),
        (lambda images: np.stack([np.asarray(image) for image in images]), "2 in a ndarray"),
    ],
)
def test_one_line_takes_one_image(as_several, named, tiny_checkpoint):
    images = as_several([make_image(40, 30, seed=seed) for seed in range(2)])
    with pytest.raises(ValueError, match=f"expected one image, got {named}; for several: ssp_sam.pipeline"):
        ssp_sam.segment(images, "a dog", model=tiny_checkpoint)


def test_one_line_takes_names_of_models():
    with pytest.raises(TypeError, match="expected the name or folder of a model, got SspSamModel"):
        ssp_sam.segment(make_image(), "a dog", model=make_pipeline().model)
