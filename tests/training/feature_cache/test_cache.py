# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The cache of image features: what it returns, what it refuses, and what is left when a write fails."""

import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch
from transformers import SamHQConfig

from ssp_sam import SspSamConfig, SspSamModel
from ssp_sam.processing.image_processing_ssp_sam import SspSamImageProcessor
from ssp_sam.training.feature_cache.cache import FeatureCache, writing_to
from ssp_sam.training.feature_cache.identity import CacheIdentity, FeatureCacheError, feature_identity
from ssp_sam.training.feature_cache.image_keys import image_key
from tests.helpers.feature_caches import open_cache
from tests.helpers.models import make_image, make_pipeline, tiny_model


def small_identity(**changes) -> CacheIdentity:
    return CacheIdentity(**{"features": {"image_embeddings": {"shape": [64, 64, 64]}}, **changes})


def small_features(value: float = 1) -> dict[str, torch.Tensor]:
    return {"image_embeddings": torch.full((64, 64, 64), value, dtype=torch.float16)}  # half a megabyte


def keys_of(count: int) -> list[str]:
    return [f"{number:032x}"[::-1] for number in range(count)]


@pytest.fixture
def copied(five_image_cache, tmp_path) -> Path:
    return Path(shutil.copytree(five_image_cache, tmp_path / "copy"))


# ---- reading --------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_order_of_its_keys_and_the_dtype_of_the_model(five_image_cache, two_towers):
    cache = open_cache(five_image_cache, two_towers)
    keys = [*reversed(list(cache)), next(iter(cache))]
    batch = cache.batch(keys)
    assert {values.dtype for values in batch.values()} == {two_towers.model.dtype}
    for index, key in enumerate(keys):
        for name, values in cache.read(key).items():
            assert torch.equal(batch[name][index], values)
    half = open_cache(five_image_cache, two_towers, dtype=torch.float16).batch(keys)
    assert all(torch.equal(half[name].float(), batch[name]) for name in batch)


def test_an_image_that_is_not_there_is_named(five_image_cache, two_towers):
    cache, key = open_cache(five_image_cache, two_towers), image_key(make_image(seed=99))
    assert key not in cache
    with pytest.raises(FeatureCacheError, match=f"image {key} is not among the 5 images"):
        cache.read(key)


def test_a_cache_can_be_handed_to_a_worker(five_image_cache, two_towers):
    cache = open_cache(five_image_cache, two_towers)
    sent, key = pickle.loads(pickle.dumps(cache)), next(iter(cache))
    assert torch.equal(sent.read(key)["patch_features"], cache.read(key)["patch_features"])


def test_values_take_two_bytes_and_little_else(tmp_path):
    with writing_to(tmp_path, small_identity()) as cache:
        cache.write(keys_of(1)[0], small_features())
        size = cache.path(keys_of(1)[0]).stat().st_size
    assert 0 < size - 2 * 64**3 < 300
    assert cache.identity.value_bytes == 2 * 64**3


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the memory of a process as Linux tells it")
def test_memory_does_not_grow_with_the_images_read(tmp_path):
    with writing_to(tmp_path, small_identity()) as cache:
        for key in keys_of(128):
            cache.write(key, small_features())

    def resident() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    total = sum(cache.read(key)["image_embeddings"][0, 0, 0].item() for key in keys_of(8))
    before, handles = resident(), len(os.listdir("/proc/self/fd"))
    total += sum(cache.read(key)["image_embeddings"][0, 0, 0].item() for key in keys_of(128)[8:])
    assert total == 128
    assert resident() - before < 16e6 < 120 * 2**19
    assert len(os.listdir("/proc/self/fd")) == handles
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_another_encoder_is_refused_by_both_fingerprints(five_image_cache):
    pipeline = make_pipeline(single_tower=False, seed=1)
    with pytest.raises(
        FeatureCacheError,
        match=r"holds image_embeddings of encoder [0-9a-f]{12}, but this model's encoder is [0-9a-f]{12} "
        r"\(they differ in weights [0-9a-f]{12} and [0-9a-f]{12}\)",
    ):
        open_cache(five_image_cache, pipeline)


def test_one_changed_weight_is_another_encoder(five_image_cache):
    pipeline = make_pipeline(single_tower=False)
    with torch.no_grad():
        pipeline.model.vision_model.visual_projection.weight[0, 0] += 1e-3
    assert len(open_cache(five_image_cache, pipeline, names=["image_embeddings"])) == 5
    with pytest.raises(FeatureCacheError, match="holds patch_features of encoder"):
        open_cache(five_image_cache, pipeline)


@pytest.mark.parametrize("setting", ["image_mean", "semantic_std"])
def test_other_preprocessing_is_refused_with_both_values(setting, five_image_cache):
    pipeline = make_pipeline(single_tower=False)
    setattr(pipeline.processor.image_processor, setting, [0.1, 0.2, 0.3])
    with pytest.raises(FeatureCacheError, match=rf"they differ in {setting} \[0\.\d+.*\] and \[0\.1, 0\.2, 0\.3\]\)"):
        open_cache(five_image_cache, pipeline)


def test_what_comes_after_the_encoders_may_train(five_image_cache):
    pipeline = make_pipeline(single_tower=False)
    with torch.no_grad():
        pipeline.model.visual_adapter.layers[0].weight += 1
    assert open_cache(five_image_cache, pipeline).names == ("image_embeddings", "patch_features")


def test_an_encoder_that_trains_cannot_be_read_from_a_cache(five_image_cache):
    pipeline = make_pipeline(single_tower=False)
    pipeline.model.sam.vision_encoder.requires_grad_(True)
    with pytest.raises(FeatureCacheError, match="only while their encoder is frozen"):
        open_cache(five_image_cache, pipeline)


def test_patches_are_left_out_where_images_are_laid_at_random(five_image_cache):
    pipeline = make_pipeline(single_tower=False)
    pipeline.processor.image_processor.random_semantic_offset = True
    assert open_cache(five_image_cache, pipeline).names == ("image_embeddings",)
    with pytest.raises(FeatureCacheError, match="random_semantic_offset=True"):
        open_cache(five_image_cache, pipeline, names=["patch_features"])


def test_a_feature_that_was_not_kept_is_named(five_image_cache, two_towers):
    with pytest.raises(FeatureCacheError, match="has no hidden_states, only image_embeddings, patch_features"):
        open_cache(five_image_cache, two_towers, names=["hidden_states"])


@pytest.mark.parametrize("content", ['{"dtype": "float16", "feat', '{"features": {}}', '{"features": {"a": {}}}', "[]"])
def test_a_folder_without_an_identity_and_a_damaged_one_are_told_apart(tmp_path, content, two_towers):
    with pytest.raises(FeatureCacheError, match="no feature cache in"):
        open_cache(tmp_path, two_towers)
    (tmp_path / "identity.json").write_text(content)
    with pytest.raises(FeatureCacheError, match="is no identity of a feature cache"):
        open_cache(tmp_path, two_towers)


def test_a_file_that_is_cut_off_is_refused(copied, two_towers):
    cache = open_cache(copied, two_towers)
    key = next(iter(cache))
    path = cache.path(key)
    path.write_bytes(path.read_bytes()[:-10])
    assert not cache.has_whole(key)
    with pytest.raises(FeatureCacheError, match=f"{path.name}' is damaged"):
        cache.batch([key])


def test_a_file_of_other_settings_is_never_read(copied, two_towers):
    cache = open_cache(copied, two_towers)
    key = next(iter(cache))
    foreign = CacheIdentity(cache.identity.features, dtype="bfloat16")
    FeatureCache(copied, foreign).write(key, {name: values.bfloat16() for name, values in cache.read(key).items()})
    for use in (cache.read, cache.has_whole):
        with pytest.raises(FeatureCacheError, match="of other settings than identity.json"):
            use(key)


# ---- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dtype": "bfloat16"}, "was begun with dtype float16, got bfloat16"),
        ({"computed_in": "bfloat16"}, "was begun with computed_in float32, got bfloat16"),
        (
            {"features": {**small_identity().features, "patch_features": {"shape": [4, 2]}}},
            "was begun with features image_embeddings, got image_embeddings and patch_features",
        ),
    ],
)
def test_other_settings_do_not_mix(tmp_path, changes, message):
    with writing_to(tmp_path, small_identity()):
        pass
    with pytest.raises(FeatureCacheError, match=message), writing_to(tmp_path, small_identity(**changes)):
        pass


def test_two_runs_do_not_write_at_once(tmp_path):
    with writing_to(tmp_path, small_identity()):
        second = writing_to(tmp_path, small_identity())
        with pytest.raises(FeatureCacheError, match="another process is writing into"):
            second.__enter__()
    with writing_to(tmp_path, small_identity()) as cache:
        assert len(cache) == 0


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path):
    first, second = keys_of(2)
    with writing_to(tmp_path, small_identity()) as cache:
        cache.write(first, small_features(1))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # files end here, as on a disk that is full
        try:
            for key in (first, second):
                with pytest.raises(FeatureCacheError, match="cannot write .*: what was finished before is whole"):
                    cache.write(key, small_features(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(cache) == [first] and cache.read(first)["image_embeddings"].max() == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "partial" in path.name] == []


def test_too_little_room_is_told(tmp_path):
    cache = FeatureCache(tmp_path, small_identity())
    with pytest.raises(FeatureCacheError, match=r"features of 10000000000 images need 5242880\.00 GB, but only"):
        cache.check_room(10**10)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FeatureCacheError, match="cannot write"), writing_to(tmp_path / "file" / "x", small_identity()):
        pass


# ---- other towers ---------------------------------------------------------------------------------------------------


def test_patches_of_siglip_are_read_only_while_their_projection_is_frozen(tmp_path):
    model, processor = tiny_model("siglip"), SspSamImageProcessor(size=32, semantic_size=32)
    names = ("image_embeddings", "patch_features")
    with writing_to(tmp_path, CacheIdentity({name: feature_identity(model, processor, name) for name in names})):
        pass
    assert FeatureCache.open(tmp_path, model=model, processor=processor).names == ("image_embeddings",)
    with pytest.raises(FeatureCacheError, match="patch_features can be read from a cache only while"):
        FeatureCache.open(tmp_path, model=model, processor=processor, names=["patch_features"])
    model.patch_projection.requires_grad_(False)
    assert FeatureCache.open(tmp_path, model=model, processor=processor).names == names
    with torch.no_grad():
        model.patch_projection.weight[0, 0] += 1e-3
    with pytest.raises(FeatureCacheError, match="holds patch_features of encoder"):
        FeatureCache.open(tmp_path, model=model, processor=processor)


def test_sam_hq_has_no_cache():
    sam = SamHQConfig(mask_decoder_config={"vit_dim": 768})
    with torch.device("meta"):
        model = SspSamModel(SspSamConfig(sam_config=sam))
    with pytest.raises(ValueError, match="features are not kept for SAM-HQ"):
        feature_identity(model, SspSamImageProcessor(), "image_embeddings")
