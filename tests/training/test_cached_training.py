# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training with features from a cache in place of frozen encoders."""

import json

import pytest
import torch
from transformers.models.sam.modeling_sam import SamVisionEncoder

from ssp_sam import SspSamModel, SspSamProcessor
from ssp_sam.modeling_ssp_sam import modeling_ssp_sam
from ssp_sam.training.data.prepared import load_prepared
from ssp_sam.training.data.references import ReferCollator, ReferDataset
from ssp_sam.training.feature_cache.cache import FeatureCache
from ssp_sam.training.feature_cache.image_keys import image_key
from ssp_sam.training.train import main
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.helpers.feature_caches import cache_features


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A model folder, a benchmark, and the cache of one's features for the other's images."""
    folder = tmp_path_factory.mktemp("prepared")
    model = tiny_model_folder(folder / "model", dropout=False)
    benchmark = tiny_benchmark(folder / "benchmark", num_train=6, num_eval=2)
    assert cache_features(model, benchmark, folder / "features", "--with-patches") == 0
    return model, benchmark, folder / "features"


def train(prepared, output, **settings) -> list[dict]:
    model, benchmark, _ = prepared
    settings = {
        "init_from": model,
        "dataset": benchmark,
        "output_dir": output,
        "images_per_device": 3,
        "max_steps": 4,
        "warmup_steps": 0,
        "iou_loss_weight": 0,
        "log_steps": 1,
        "num_drawings": 0,
        **settings,
    }
    main([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def never(*args, **kwargs):
    raise AssertionError("a frozen encoder ran")


@pytest.mark.parametrize("random_offset", [True, False])
def test_a_run_from_the_cache_has_the_losses_of_a_run_from_pixels(prepared, random_offset, tmp_path, monkeypatch):
    settings = {"random_semantic_offset": random_offset}
    plain = train(prepared, tmp_path / "plain", **settings)
    monkeypatch.setattr(SamVisionEncoder, "forward", never)
    if not random_offset:
        monkeypatch.setattr(modeling_ssp_sam, "encode_image_with_surgery", never)
    cached = train(prepared, tmp_path / "cached", feature_cache=prepared[2], **settings)
    losses = [[entry["loss"] for entry in log if entry["event"] == "train"] for log in (plain, cached)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)


def test_a_batch_holds_features_in_place_of_the_pixels_that_nobody_reads(prepared):
    model, benchmark, folder = prepared
    processor = SspSamProcessor.from_pretrained(model)
    options = {"model": SspSamModel.from_pretrained(model), "processor": processor}
    rows = load_prepared(benchmark, "train")
    items = [ReferDataset(rows)[0, index] for index in (4, 1, 4)]
    batch = ReferCollator(processor, feature_cache=FeatureCache.open(folder, **options))(items)
    assert "pixel_values" not in batch and "semantic_pixel_values" not in batch
    cache = FeatureCache.open(folder, names=["image_embeddings"], **options)
    expected = cache.batch([image_key(rows[index]["image"]) for index in (4, 1)])["image_embeddings"]
    batch = ReferCollator(processor, feature_cache=cache)(items)
    assert torch.equal(batch["image_embeddings"], expected)
    assert batch["image_index"].tolist() == [0, 0, 1] and len(batch["semantic_pixel_values"]) == 2


def test_a_run_that_trains_the_encoder_is_refused(prepared, tmp_path):
    settings = {"feature_cache": prepared[2], "model_config": '{"frozen_modules": []}'}
    with pytest.raises(ValueError, match="only while their encoder is frozen"):
        train(prepared, tmp_path / "run", **settings)


def test_scenes_have_no_cache(tmp_path):
    with pytest.raises(ValueError, match="feature_cache .* needs dataset or train_dir"):
        main(["--init_from", "model", "--output_dir", str(tmp_path / "run"), "--feature_cache", str(tmp_path)])
