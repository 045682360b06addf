# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What `import ssp_sam` makes known to transformers."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

import ssp_sam
from ssp_sam import (
    EMBEDDED_CHECKPOINT,
    ReferringSegmentationPipeline,
    SspSamConfig,
    SspSamImageProcessor,
    SspSamModel,
    SspSamProcessor,
)


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


def test_importing_twice_and_reloading_is_harmless():
    code = "import ssp_sam, importlib; importlib.reload(ssp_sam); print(ssp_sam.__version__)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ssp_sam.__version__


@pytest.mark.skipif(not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint")
def test_the_embedded_checkpoint_is_complete_and_small():
    names = {path.name for path in EMBEDDED_CHECKPOINT.iterdir()}
    assert {"config.json", "processor_config.json", "tokenizer.json", "model.safetensors"} <= names
    assert (EMBEDDED_CHECKPOINT / "model.safetensors").stat().st_size <= 16 * 2**20
