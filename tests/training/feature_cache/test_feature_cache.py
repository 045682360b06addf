# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The cache of image features: what it holds, what it refuses, and what is left when a run is stopped."""

import contextlib
import os
import pickle
import resource
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.cache_image_features import main
from ssp_sam.modeling_ssp_sam.model_outputs import SspSamImageFeatures
from ssp_sam.training.feature_cache import cache as feature_cache
from ssp_sam.training.feature_cache import encoding as feature_encoding
from ssp_sam.training.feature_cache import index as feature_index
from ssp_sam.training.feature_cache.cache import FeatureCache, FeatureCacheError, file_key, image_key
from ssp_sam.training.feature_cache.encoding import plan_shards
from ssp_sam.training.feature_cache.index import FeatureIndex
from ssp_sam.training.feature_cache.shards import check_room, write_shard, writing_to
from ssp_sam.training.image_sources import SceneImages
from ssp_sam.training.scenes.dataset import render_scenes
from tests.helpers.benchmark import tiny_row, write_benchmark
from tests.helpers.models import make_image, make_pipeline, tiny_labels

ROOT = Path(__file__).resolve().parents[3]
NUM_PICTURES = 5


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    picture.save(stream, format=kind)
    return stream.getvalue()


def make_row(image_id: str, content: bytes) -> dict:
    return tiny_row(0, "none", image_id=image_id, image={"bytes": content, "path": None}, source="fixture")


def write_rows(folder: Path, rows: list[dict]) -> str:
    return str(write_benchmark(folder, {"train": rows}))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [make_image(width=40 + number, seed=number) for number in range(NUM_PICTURES)]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory, pictures) -> str:
    """Two rows for each picture; besides, one picture under a second id, and one id with a second picture."""
    rows = [make_row(str(number), encoded(picture)) for number, picture in enumerate(pictures) for _ in range(2)]
    rows[9] = make_row("another id", encoded(pictures[0], "BMP"))
    rows[7] = make_row("0", encoded(pictures[3]))
    return write_rows(tmp_path_factory.mktemp("benchmark") / "data", rows)


@pytest.fixture(scope="module")
def two_towers():
    return make_pipeline(single_tower=False)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, two_towers) -> str:
    folder = tmp_path_factory.mktemp("two-towers")
    two_towers.save_pretrained(folder)
    return str(folder)


def run(model, data, output, *options) -> int:
    return main(["--model", str(model), "--data", str(data), "--output", str(output), "--with-patches", *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_folder, benchmark) -> Path:
    """A finished cache with both features in shards of two images; tests must not change it."""
    output = tmp_path_factory.mktemp("features")
    assert run(model_folder, benchmark, output, "--images-per-shard", "2") == 0
    return output


def copy_of(folder: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in [folder / "index.json", *folder.glob("*.safetensors")]:
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


def open_cache(folder, pipeline, **options) -> FeatureCache:
    return FeatureCache.open(folder, model=pipeline.model, processor=pipeline.processor, **options)


def without_reading(cache: FeatureCache) -> dict[str, dict[str, torch.Tensor]]:
    return {key: cache.read(key) for key in sorted(cache)}


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_a_picture_has_one_key_in_whatever_form_it_comes(tmp_path, image):
    path = tmp_path / "picture.png"
    image.save(path)
    content = path.read_bytes()
    forms = [
        image,
        np.asarray(image),
        path,
        content,
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)},
    ]
    assert {image_key(form) for form in forms} == {image_key(encoded(image, "BMP"))}


def test_a_picture_stored_on_its_side_has_the_key_of_the_upright_one(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(stream, format="PNG", exif=exif)
    assert image_key(stream.getvalue()) == image_key(image)


def test_one_pixel_and_the_shape_change_the_key(image):
    pixels = np.array(image)
    pixels[3, 4, 1] ^= 1
    assert len({image_key(image), image_key(pixels), image_key(np.asarray(image).reshape(40, 30, 3))}) == 3


def test_files_have_a_key_of_their_bytes_and_decoded_pictures_have_none(image):
    png, bmp = encoded(image), encoded(image, "BMP")
    assert file_key(png) == file_key({"bytes": png, "path": None}) != file_key(bmp)
    assert file_key(image) is None


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(ValueError, match="cannot read an image from 5 bytes"):
        image_key(b"hello")


# ---- what is stored -------------------------------------------------------------------------------------------------


def test_each_distinct_picture_is_kept_once_whatever_its_ids(folder, pictures, two_towers):
    cache = open_cache(folder, two_towers)
    assert sorted(cache) == sorted(image_key(picture) for picture in pictures)


def test_the_run_tells_which_ids_and_pictures_do_not_match_one_to_one(benchmark, model_folder, tmp_path, capsys):
    run(model_folder, benchmark, tmp_path / "cache")
    printed = capsys.readouterr().out
    assert "5 distinct images in 10 rows, 5 to encode" in printed
    assert "different pictures, which are kept apart: 1, such as fixture/0" in printed
    assert "several image ids, which are kept once: 2" in printed


def test_stored_features_are_those_of_the_encoders_rounded(folder, pictures, two_towers):
    cache, model = open_cache(folder, two_towers, dtype=torch.float16), two_towers.model
    for picture in pictures:
        inputs = two_towers.processor.image_processor(picture, return_tensors="pt")
        with torch.no_grad():
            features = model.get_image_features(inputs["pixel_values"], inputs["semantic_pixel_values"])
        for name, stored in cache.read(image_key(picture)).items():
            torch.testing.assert_close(stored.float(), features[name][0], atol=1e-5, rtol=2**-11)


def test_values_take_two_bytes_and_little_else(folder, two_towers):
    index, model = FeatureIndex.load(folder), two_towers.model
    values = 16 * 8 * 8 + model.config.grid_size**2 * model.config.projection_dim
    assert index.value_bytes == 2 * values
    assert index.num_bytes < NUM_PICTURES * (2 * values + 16) + 600 * len(index.shards)


@pytest.mark.parametrize("single_tower", [False, True])
def test_losses_are_those_without_the_cache_within_half_precision(single_tower, benchmark, pictures, tmp_path):
    pipeline = make_pipeline(single_tower)
    pipeline.save_pretrained(tmp_path / "model")
    options = [] if single_tower else ["--with-patches"]
    place = ["--data", benchmark, "--output", str(tmp_path / "cache")]
    assert main(["--model", str(tmp_path / "model"), *place, *options]) == 0
    cache = open_cache(tmp_path / "cache", pipeline)
    words = [["the red car"], ["a blue ball", "the dog"], ["everything"]]
    inputs = pipeline.processor(images=pictures[:3], text=words, return_tensors="pt")
    text = {name: inputs[name] for name in ("input_ids", "attention_mask", "image_index")} | tiny_labels(4)
    plain = pipeline.model(inputs["pixel_values"], inputs.get("semantic_pixel_values"), **text)
    batch = cache.batch([image_key(picture) for picture in pictures[:3]])
    features = batch if single_tower else {"image_features": SspSamImageFeatures(**batch)}
    cached = pipeline.model(**features, **text)
    assert cached.loss_dict.keys() == plain.loss_dict.keys()
    for name, value in plain.loss_dict.items():
        torch.testing.assert_close(cached.loss_dict[name], value, atol=2e-3, rtol=2e-3)
    cached.loss.backward()
    # The same with other pictures is something else.
    batch = cache.batch([image_key(picture) for picture in pictures[2:]])
    features = batch if single_tower else {"image_features": SspSamImageFeatures(**batch)}
    assert abs(pipeline.model(**features, **text).loss - plain.loss) > 1e-2


def test_scenes_are_encoded_as_the_canvas_shows_them(tmp_path, model_folder, two_towers):
    scenes = render_scenes(tmp_path / "scenes", split="test", num_scenes=3, canvas_size=32)
    assert main(["--model", model_folder, "--scenes", str(scenes), "--output", str(tmp_path / "cache")]) == 0
    cache, source = open_cache(tmp_path / "cache", two_towers), SceneImages(scenes)
    assert len(source) == len(cache) == 3
    assert all(image_key(source[number][1]) in cache for number in range(3))


# ---- reading --------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_order_of_its_keys_and_the_dtype_of_the_model(folder, two_towers):
    cache = open_cache(folder, two_towers)
    keys = [*reversed(list(cache)), next(iter(cache))]
    batch = cache.batch(keys)
    assert {values.dtype for values in batch.values()} == {two_towers.model.dtype}
    for number, key in enumerate(keys):
        for name, values in cache.read(key).items():
            assert torch.equal(batch[name][number], values)
    half = open_cache(folder, two_towers, dtype=torch.float16).batch(keys)
    assert all(torch.equal(half[name].float(), batch[name]) for name in batch)


def test_a_file_that_the_cache_has_seen_is_not_decoded_to_find_its_key(folder, pictures, two_towers, monkeypatch):
    cache = open_cache(folder, two_towers)
    wanted = [image_key(pictures[0])] * 2
    monkeypatch.setattr(feature_cache, "image_key", None)
    assert [cache.key_of(encoded(pictures[0], kind)) for kind in ("PNG", "BMP")] == wanted


def test_a_picture_that_is_not_there_is_named(folder, two_towers):
    cache = open_cache(folder, two_towers)
    key = cache.key_of(make_image(seed=99))
    assert key not in cache
    with pytest.raises(FeatureCacheError, match=f"image {key} is not among the 5 images"):
        cache.read(key)


def test_a_cache_can_be_handed_to_a_worker(folder, two_towers):
    cache = open_cache(folder, two_towers)
    copied, key = pickle.loads(pickle.dumps(cache)), next(iter(cache))
    assert torch.equal(copied.read(key)["patch_features"], cache.read(key)["patch_features"])


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="reads the memory of a process as Linux tells it"
)
def test_memory_does_not_grow_with_the_images_read(tmp_path):
    shape = [64, 64, 64]  # half a megabyte
    index = FeatureIndex({"image_embeddings": {"shape": shape, "identity": {}}})
    keys = [f"{number:032x}" for number in range(128)]
    for start in range(0, 128, 32):
        values = {"image_embeddings": torch.ones(32, *shape, dtype=torch.float16)}
        name = write_shard(tmp_path, index, keys[start : start + 32], values)
        index.shards[name] = {"bytes": (tmp_path / name).stat().st_size, "keys": keys[start : start + 32]}
    del values
    cache = FeatureCache(tmp_path, index, ["image_embeddings"], torch.float16)

    def resident() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    total = 0.0
    for key in keys[:8]:
        total += cache.read(key)["image_embeddings"][0, 0, 0].item()
    before, handles = resident(), len(os.listdir("/proc/self/fd"))
    for key in keys[8:]:
        total += cache.read(key)["image_embeddings"][0, 0, 0].item()
    assert total == 128
    assert resident() - before < 4e6 < 120 * 2**19
    assert len(os.listdir("/proc/self/fd")) == handles
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_another_encoder_is_refused_by_both_names(folder):
    pipeline = make_pipeline(single_tower=False, seed=1)
    with pytest.raises(
        FeatureCacheError,
        match=r"holds image_embeddings of encoder [0-9a-f]{12}, but this model's encoder is [0-9a-f]{12} "
        r"\(they differ in weights [0-9a-f]{12} and [0-9a-f]{12}\)",
    ):
        open_cache(folder, pipeline)


def test_one_changed_weight_is_another_encoder(folder):
    pipeline = make_pipeline(single_tower=False)
    with torch.no_grad():
        pipeline.model.vision_model.visual_projection.weight[0, 0] += 1e-3
    assert len(open_cache(folder, pipeline, names=["image_embeddings"])) == NUM_PICTURES
    with pytest.raises(FeatureCacheError, match="holds patch_features of encoder"):
        open_cache(folder, pipeline)


@pytest.mark.parametrize("setting", ["image_mean", "semantic_std"])
def test_other_preprocessing_is_refused_with_both_values(setting, folder):
    pipeline = make_pipeline(single_tower=False)
    setattr(pipeline.processor.image_processor, setting, [0.1, 0.2, 0.3])
    with pytest.raises(FeatureCacheError, match=rf"they differ in {setting} \[0\.\d+.*\] and \[0\.1, 0\.2, 0\.3\]\)"):
        open_cache(folder, pipeline)


def test_what_comes_after_the_encoders_may_train(folder):
    pipeline = make_pipeline(single_tower=False)
    with torch.no_grad():
        pipeline.model.visual_adapter.layers[0].weight += 1
    assert len(open_cache(folder, pipeline)) == NUM_PICTURES


def test_a_half_precision_checkpoint_is_the_same_encoder_when_widened(tmp_path, benchmark):
    pipeline = make_pipeline()
    pipeline.model.to(torch.bfloat16)
    pipeline.save_pretrained(tmp_path / "model")
    place = ["--data", benchmark, "--output", str(tmp_path / "cache")]
    assert main(["--model", str(tmp_path / "model"), *place]) == 0
    assert open_cache(tmp_path / "cache", pipeline).dtype == torch.bfloat16
    pipeline.model.float()
    assert len(open_cache(tmp_path / "cache", pipeline)) == NUM_PICTURES


def test_an_encoder_that_trains_cannot_be_read_from_a_cache(folder):
    pipeline = make_pipeline(single_tower=False)
    pipeline.model.sam.vision_encoder.requires_grad_(True)
    with pytest.raises(FeatureCacheError, match="only while their encoder is frozen"):
        open_cache(folder, pipeline)


def test_patches_are_left_out_where_images_are_placed_at_random(folder):
    pipeline = make_pipeline(single_tower=False)
    pipeline.processor.image_processor.random_semantic_offset = True
    assert open_cache(folder, pipeline).names == ("image_embeddings",)
    with pytest.raises(FeatureCacheError, match="random_semantic_offset=True"):
        open_cache(folder, pipeline, names=["patch_features"])


def test_a_feature_that_was_not_kept_is_named(folder, two_towers):
    with pytest.raises(FeatureCacheError, match="has no hidden_states, only image_embeddings, patch_features"):
        open_cache(folder, two_towers, names=["hidden_states"])


def test_a_folder_without_an_index_and_a_damaged_one_are_told_apart(tmp_path, two_towers):
    with pytest.raises(FeatureCacheError, match="no feature cache in"):
        open_cache(tmp_path, two_towers)
    (tmp_path / "index.json").write_text('{"format": 1, "feat')
    with pytest.raises(FeatureCacheError, match="is no index of a feature cache"):
        open_cache(tmp_path, two_towers)


def test_a_cut_off_shard_is_refused_when_opened_and_a_vanished_one_when_read(folder, tmp_path, two_towers):
    copied = copy_of(folder, tmp_path)
    cache = open_cache(copied, two_towers)
    path = next(copied.glob("*.safetensors"))
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(FeatureCacheError, match="is gone or damaged"):
        cache.batch(list(cache))
    path.write_bytes(content[:-10])
    with pytest.raises(FeatureCacheError, match=f"has {len(content) - 10} bytes where the index says {len(content)}"):
        open_cache(copied, two_towers)


def test_a_shard_of_other_settings_is_never_read(folder, tmp_path, two_towers):
    copied = copy_of(folder, tmp_path)
    cache, index = open_cache(copied, two_towers), FeatureIndex.load(copied)
    name, shard = next(iter(index.shards.items()))
    index.dtype = "bfloat16"
    rows = {
        feature: torch.zeros(len(shard["keys"]), *entry["shape"], dtype=torch.bfloat16)
        for feature, entry in index.features.items()
    }
    assert write_shard(copied, index, shard["keys"], rows) == name
    with pytest.raises(FeatureCacheError, match="replaced by a foreign shard"):
        cache.read(shard["keys"][0])


# ---- stopped and repeated runs --------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run where it stands."""


def test_a_run_stopped_while_it_writes_goes_on_with_what_was_complete(
    folder, tmp_path, model_folder, benchmark, two_towers, monkeypatch, capsys
):
    output, moved = tmp_path / "cache", []

    def replace(source, target):
        if Path(target).suffix == ".safetensors":
            moved.append(target)
            if len(moved) == 2:
                raise Killed
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(feature_index.os, "replace", replace)
        with contextlib.suppress(Killed):
            run(model_folder, benchmark, output, "--images-per-shard", "2")
    assert len(list(output.glob("*.safetensors"))) == 1
    assert len(list((output / ".partial").glob("*.safetensors"))) == 1
    assert len(open_cache(output, two_towers)) == 0  # the index is still that of the beginning
    capsys.readouterr()
    assert run(model_folder, benchmark, output, "--images-per-shard", "5") == 0
    assert "5 distinct images in 10 rows, 3 to encode" in capsys.readouterr().out
    expected, found = (without_reading(open_cache(place, two_towers)) for place in (folder, output))
    assert expected.keys() == found.keys()
    for key, features in expected.items():
        assert all(torch.equal(found[key][name], values) for name, values in features.items())


def test_a_damaged_shard_is_replaced_and_the_others_stay(folder, tmp_path, model_folder, benchmark, two_towers, capsys):
    copied = copy_of(folder, tmp_path)
    first, *others = sorted(copied.glob("*.safetensors"))
    times = [path.stat().st_mtime_ns for path in others]
    first.write_bytes(first.read_bytes()[:-10])
    assert run(model_folder, benchmark, copied) == 0
    assert f"{len(FeatureIndex.load(folder).shards[first.name]['keys'])} to encode" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in others] == times
    assert len(open_cache(copied, two_towers)) == NUM_PICTURES


def test_new_images_are_added_to_a_cache(folder, tmp_path, model_folder, two_towers, pictures, capsys):
    copied = copy_of(folder, tmp_path)
    new = make_image(seed=50)
    more = write_rows(tmp_path / "more", [make_row("1", encoded(pictures[1])), make_row("2", encoded(new))])
    assert run(model_folder, more, copied) == 0
    assert "2 distinct images in 2 rows, 1 to encode" in capsys.readouterr().out
    cache = open_cache(copied, two_towers)
    assert len(cache) == NUM_PICTURES + 1 and image_key(new) in cache


def test_another_model_does_not_write_into_a_cache(folder, tmp_path, benchmark, capsys):
    copied = copy_of(folder, tmp_path)
    make_pipeline(single_tower=False, seed=1).save_pretrained(tmp_path / "other")
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert run(tmp_path / "other", benchmark, copied) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("cache_image_features: ") and "but this model's encoder is" in printed
    assert all((copied / name).read_bytes() == content for name, content in before.items())


def test_other_settings_do_not_mix(folder, tmp_path, model_folder, benchmark, capsys):
    copied = copy_of(folder, tmp_path)
    assert run(model_folder, benchmark, copied, "--dtype", "bfloat16") == 2
    assert "was begun with dtype float16, got bfloat16" in capsys.readouterr().err


def test_two_runs_do_not_write_at_once(tmp_path):
    (tmp_path / ".writing").touch()
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('ok', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / ".writing")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ok\n"
        with pytest.raises(FeatureCacheError, match="another run is writing into"), writing_to(tmp_path):
            pass
        other.kill()
        other.wait()
        with writing_to(tmp_path):
            pass


def test_a_full_disk_is_told_and_leaves_no_half_shard(tmp_path):
    index = FeatureIndex({"image_embeddings": {"shape": [8, 8, 8], "identity": {}}})
    index.save(tmp_path)
    before = (tmp_path / "index.json").read_bytes()
    values = {"image_embeddings": torch.ones(100, 8, 8, 8, dtype=torch.float16)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # files end here, as on a disk that is full
    try:
        with pytest.raises(FeatureCacheError, match="cannot write .*; what was finished before is kept"):
            write_shard(tmp_path, index, [f"{number:032x}" for number in range(100)], values)
        index.files = {f"{number:032x}": f"{number:032x}" for number in range(500)}
        with pytest.raises(FeatureCacheError, match="cannot write .*index.json"):
            index.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.glob("**/*.safetensors")) == []
    assert (tmp_path / "index.json").read_bytes() == before


def test_too_little_room_is_told_before_anything_is_encoded(tmp_path):
    index = FeatureIndex({"image_embeddings": {"shape": [256, 64, 64], "identity": {}}})
    with pytest.raises(FeatureCacheError, match=r"features of 10000000000 images need 20971520\.00 GB, but only"):
        check_room(tmp_path, index, 10**10)


def test_values_that_the_dtype_cannot_hold_stop_the_run(tmp_path, benchmark, capsys):
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.model.sam.vision_encoder.neck.layer_norm2.weight.mul_(1e6)
    pipeline.save_pretrained(tmp_path / "model")
    place = ["--data", benchmark, "--output", str(tmp_path / "cache")]
    assert main(["--model", str(tmp_path / "model"), *place]) == 2
    assert "of 'fixture/0' have values that float16 cannot hold" in capsys.readouterr().err
    assert len(open_cache(tmp_path / "cache", pipeline)) == 0


def test_an_unreadable_picture_is_told_and_the_others_are_kept(tmp_path, model_folder, pictures, two_towers, capsys):
    rows = [make_row("good", encoded(pictures[0])), make_row("bad", b"not a picture")]
    assert run(model_folder, write_rows(tmp_path / "data", rows), tmp_path / "cache") == 2
    printed = capsys.readouterr()
    assert "unreadable: fixture/bad: cannot read an image from 13 bytes" in printed.out
    assert "without a readable image, which are not in the cache: 1" in printed.err
    assert list(open_cache(tmp_path / "cache", two_towers)) == [image_key(pictures[0])]


# ---- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count, world", [(0, 2), (1, 2), (7, 1), (7, 2), (64, 3), (200, 8)])
def test_every_image_is_dealt_to_one_process_and_all_get_work(count, world):
    keys = [str(number) for number in range(count)]
    plan = plan_shards(keys, 16, world)
    dealt = [key for share in plan for shard in share for key in shard]
    assert len(plan) == world and sorted(dealt) == sorted(keys)
    assert all(0 < len(shard) <= 16 for share in plan for shard in share)
    assert min(len(share) for share in plan) > 0 or count < 2 * world


def test_two_processes_go_on_where_one_was_stopped(folder, tmp_path, model_folder, benchmark, two_towers):
    output = copy_of(folder, tmp_path)
    for path in sorted(output.glob("*.safetensors"))[1:]:
        path.unlink()
    configuration = ROOT / "training/accelerate_configs/two_cpu_processes.yaml"
    script = [ROOT / "scripts/cache_image_features.py", "--model", model_folder, "--data", benchmark, "--with-patches"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", configuration, *script]
    result = subprocess.run(
        [str(word) for word in [*launch, "--output", output, "--threads", 1]],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("5 distinct images in 10 rows") == 1
    assert "encoding images (1 of 2 equal shares)" in result.stderr
    assert len(list(output.glob("*.safetensors"))) == 3
    expected, found = (without_reading(open_cache(place, two_towers)) for place in (folder, output))
    assert expected.keys() == found.keys()
    for key, features in expected.items():
        for name, values in features.items():
            torch.testing.assert_close(found[key][name], values, atol=2e-3, rtol=2e-3)


# ---- verification ---------------------------------------------------------------------------------------------------


def test_verification_recomputes_and_tells_the_largest_difference(folder, model_folder, benchmark, capsys):
    assert run(model_folder, benchmark, folder, "--verify", "3") == 0
    assert "3 images recomputed; largest relative difference: image_embeddings 0.000" in capsys.readouterr().out


def test_verification_finds_features_of_another_image(folder, tmp_path, model_folder, benchmark, capsys):
    copied = copy_of(folder, tmp_path)
    index = FeatureIndex.load(copied)
    for shard in index.shards.values():
        shard["keys"].reverse()
    index.save(copied)
    assert run(model_folder, benchmark, copied, "--verify", "5") == 2
    assert "differ from recomputed ones by" in capsys.readouterr().err


def test_verification_of_a_cache_without_these_images_says_so(folder, tmp_path, model_folder, capsys):
    other = write_rows(tmp_path / "other", [make_row("1", encoded(make_image(seed=77)))])
    assert run(model_folder, other, folder, "--verify", "5") == 2
    assert "none of the 1 images are in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give images by --data, --images or --scenes"),
        (["--images", "x.png", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--images", "x.png", "--splits", "val"], "--splits are those of --data, which is missing"),
    ],
)
def test_bad_usage_ends_with_exit_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--model", "m", "--output", "o", *words])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_only_sam_runs_when_only_its_features_are_kept(two_towers, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the semantic tower ran")

    monkeypatch.setattr(two_towers.model, "get_image_features", never)

    class Plain:
        device = torch.device("cpu")
        autocast = staticmethod(contextlib.nullcontext)

    batch = {"pixel_values": torch.zeros(1, 3, 32, 32)}
    names = ["image_embeddings"]
    assert list(feature_encoding.compute_features(two_towers.model, batch, names, Plain())) == names
