# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Runs of `ssp-sam cache`: what is stored, what is told, and what is left when a run is stopped."""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch

from ssp_sam.cli.main import main
from ssp_sam.modeling_ssp_sam.model_outputs import SspSamImageFeatures
from ssp_sam.training.feature_cache import encoding
from ssp_sam.training.feature_cache.cache import FeatureCache
from ssp_sam.training.feature_cache.image_keys import image_key
from tests.helpers.benchmark import write_benchmark
from tests.helpers.feature_caches import all_features, cache_features, encoded, image_row, open_cache
from tests.helpers.models import make_image, make_pipeline, tiny_labels
from tests.helpers.processes import run_in_processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(five_image_cache, tmp_path) -> Path:
    return Path(shutil.copytree(five_image_cache, tmp_path / "copy"))


@pytest.fixture
def cache_again(two_tower_folder, five_image_benchmark):
    """Runs the command as the finished cache was made, into another folder."""

    def run(output, *options, data=five_image_benchmark) -> int:
        return cache_features(two_tower_folder, data, output, "--with-patches", *options)

    return run


# ---- what is stored -------------------------------------------------------------------------------------------------


def test_each_distinct_image_is_kept_once_whatever_its_ids(five_image_cache, five_images, two_towers):
    cache = open_cache(five_image_cache, two_towers)
    assert sorted(cache) == sorted(image_key(image) for image in five_images)
    assert len(list(five_image_cache.rglob("*.safetensors"))) == 5


def test_a_run_tells_what_it_found_and_what_it_kept(cache_again, tmp_path, capsys):
    cache_again(tmp_path / "cache")
    printed = capsys.readouterr().out
    assert "5 distinct images in 10 rows, 5 to encode" in printed
    assert "different images, which are kept apart: 1, such as fixture/0" in printed
    assert f"{tmp_path / 'cache'}: 5 images, 0.000 GB, " in printed


def test_stored_features_are_those_of_the_encoders_rounded(five_image_cache, five_images, two_towers):
    cache, model = open_cache(five_image_cache, two_towers, dtype=torch.float16), two_towers.model
    for image in five_images:
        inputs = two_towers.processor.image_processor(image, return_tensors="pt")
        with torch.no_grad():
            features = model.get_image_features(inputs["pixel_values"], inputs["semantic_pixel_values"])
        for name, stored in cache.read(image_key(image)).items():
            torch.testing.assert_close(stored.float(), features[name][0], atol=1e-5, rtol=2**-11)


@pytest.mark.parametrize("single_tower", [False, True])
def test_losses_are_those_without_the_cache_within_half_precision(
    single_tower, five_image_benchmark, five_images, tmp_path
):
    pipeline = make_pipeline(single_tower)
    pipeline.save_pretrained(tmp_path / "model")
    options = [] if single_tower else ["--with-patches"]
    assert cache_features(tmp_path / "model", five_image_benchmark, tmp_path / "cache", *options) == 0
    cache = open_cache(tmp_path / "cache", pipeline)
    words = [["the red car"], ["a blue ball", "the dog"], ["everything"]]
    inputs = pipeline.processor(images=five_images[:3], text=words, return_tensors="pt")
    text = {name: inputs[name] for name in ("input_ids", "attention_mask", "image_index")} | tiny_labels(4)
    plain = pipeline.model(inputs["pixel_values"], inputs.get("semantic_pixel_values"), **text)
    batch = cache.batch([image_key(image) for image in five_images[:3]])
    features = batch if single_tower else {"image_features": SspSamImageFeatures(**batch)}
    cached = pipeline.model(**features, **text)
    assert cached.loss_dict.keys() == plain.loss_dict.keys()
    for name, value in plain.loss_dict.items():
        torch.testing.assert_close(cached.loss_dict[name], value, atol=2e-3, rtol=2e-3)
    cached.loss.backward()
    # The same with other images is something else.
    batch = cache.batch([image_key(image) for image in five_images[2:]])
    features = batch if single_tower else {"image_features": SspSamImageFeatures(**batch)}
    assert abs(pipeline.model(**features, **text).loss - plain.loss) > 1e-2


def test_image_files_are_known_by_their_pixels_and_not_by_their_names(
    tmp_path, five_images, two_tower_folder, two_towers, capsys
):
    for folder, image in (("first", five_images[0]), ("second", five_images[1]), ("third", five_images[0])):
        (tmp_path / folder).mkdir()
        image.save(tmp_path / folder / "rgb.png")
    folders = [str(tmp_path / folder) for folder in ("first", "second", "third")]
    words = ["cache", "--model", str(two_tower_folder), "--images", *folders, "--output", str(tmp_path / "cache")]
    assert main(words) == 0
    assert "2 distinct images in 3 rows" in capsys.readouterr().out
    cache = open_cache(tmp_path / "cache", two_towers)
    assert sorted(cache) == sorted(image_key(image) for image in five_images[:2])


def test_a_half_precision_checkpoint_is_the_same_encoder_when_widened(tmp_path, five_image_benchmark):
    pipeline = make_pipeline()
    pipeline.model.to(torch.bfloat16)
    pipeline.save_pretrained(tmp_path / "model")
    assert cache_features(tmp_path / "model", five_image_benchmark, tmp_path / "cache") == 0
    assert open_cache(tmp_path / "cache", pipeline).dtype == torch.bfloat16
    pipeline.model.float()
    assert len(open_cache(tmp_path / "cache", pipeline)) == 5


def test_only_sam_runs_when_only_its_features_are_kept(two_towers, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the semantic tower ran")

    monkeypatch.setattr(two_towers.model, "get_image_features", never)

    class Plain:
        device = torch.device("cpu")
        autocast = staticmethod(contextlib.nullcontext)

    batch = {"pixel_values": torch.zeros(1, 3, 32, 32)}
    names = ["image_embeddings"]
    assert list(encoding.compute_features(two_towers.model, batch, names, Plain())) == names


# ---- stopped and repeated runs --------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run where it stands."""


def test_a_stopped_run_goes_on_with_what_was_complete(five_image_cache, tmp_path, cache_again, two_towers, capsys):
    output, write = tmp_path / "cache", FeatureCache.write

    def write_twice(cache, key, features):
        if len(cache) == 2:
            raise Killed
        write(cache, key, features)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(FeatureCache, "write", write_twice)
        cache_again(output)
    assert len(open_cache(output, two_towers)) == 2
    capsys.readouterr()
    assert cache_again(output) == 0
    assert "5 distinct images in 10 rows, 3 to encode" in capsys.readouterr().out
    expected, found = (all_features(open_cache(folder, two_towers)) for folder in (five_image_cache, output))
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=2e-3, rtol=2e-3)


def test_a_damaged_file_is_replaced_and_the_others_stay(copied, cache_again, two_towers, capsys):
    first, *others = sorted(copied.rglob("*.safetensors"))
    times = [path.stat().st_mtime_ns for path in others]
    first.write_bytes(first.read_bytes()[:-10])
    assert cache_again(copied) == 0
    assert "1 to encode" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in others] == times
    assert all(open_cache(copied, two_towers).has_whole(path.stem) for path in (first, *others))


def test_new_images_are_added_to_a_cache(copied, tmp_path, cache_again, five_images, two_towers, capsys):
    new = make_image(seed=50)
    rows = [image_row("1", encoded(five_images[1])), image_row("2", encoded(new))]
    assert cache_again(copied, data=write_benchmark(tmp_path / "more", {"train": rows})) == 0
    assert "2 distinct images in 2 rows, 1 to encode" in capsys.readouterr().out
    cache = open_cache(copied, two_towers)
    assert len(cache) == 6 and image_key(new) in cache


def test_another_model_does_not_write_into_a_cache(copied, tmp_path, five_image_benchmark, capsys):
    make_pipeline(single_tower=False, seed=1).save_pretrained(tmp_path / "other")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert cache_features(tmp_path / "other", five_image_benchmark, copied, "--with-patches") == 2
    assert "but this model's encoder is" in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_values_that_the_dtype_cannot_hold_stop_the_run(tmp_path, five_image_benchmark, capsys):
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.model.sam.vision_encoder.neck.layer_norm2.weight.mul_(1e6)
    pipeline.save_pretrained(tmp_path / "model")
    assert cache_features(tmp_path / "model", five_image_benchmark, tmp_path / "cache") == 2
    assert "of 'fixture/0' have values that float16 cannot hold" in capsys.readouterr().err
    assert len(open_cache(tmp_path / "cache", pipeline)) == 0


def test_an_unreadable_image_is_told_and_the_others_are_kept(tmp_path, cache_again, five_images, two_towers, capsys):
    rows = [image_row("good", encoded(five_images[0])), image_row("bad", b"not an image")]
    assert cache_again(tmp_path / "cache", data=write_benchmark(tmp_path / "data", {"train": rows})) == 2
    printed = capsys.readouterr()
    assert "unreadable: fixture/bad: could not read an image from 12 bytes" in printed.out
    assert "without a readable image, which are not in the cache: 1" in printed.err
    assert list(open_cache(tmp_path / "cache", two_towers)) == [image_key(five_images[0])]


def test_two_processes_go_on_where_one_was_stopped(
    five_image_cache, copied, tmp_path, two_tower_folder, five_image_benchmark, two_towers
):
    for path in sorted(copied.rglob("*.safetensors"))[1:]:
        path.unlink()
    words = ["cache", "--model", two_tower_folder, "--data", five_image_benchmark, "--output", copied]
    run = run_in_processes(main, [*words, "--with-patches", "--threads", 1], tmp_path / "said", number=2)
    assert run.said(0).count("5 distinct images in 10 rows") == 1 and run.said(1) == ""
    assert "encoding images (1 of 2 equal shares)" in run.said(0, "err")
    expected, found = (all_features(open_cache(folder, two_towers)) for folder in (five_image_cache, copied))
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=2e-3, rtol=2e-3)


# ---- verification ---------------------------------------------------------------------------------------------------


def test_verification_recomputes_and_tells_the_largest_difference(five_image_cache, cache_again, capsys):
    assert cache_again(five_image_cache, "--verify", "3") == 0
    assert "largest relative difference of recomputed images: image_embeddings 0.000" in capsys.readouterr().out


def test_verification_finds_features_of_another_image(copied, cache_again, capsys):
    first, second = sorted(copied.rglob("*.safetensors"))[:2]
    first.write_bytes(second.read_bytes())
    assert cache_again(copied, "--verify", "5") == 2
    assert "differ from recomputed ones by" in capsys.readouterr().err


def test_verification_of_a_cache_without_these_images_says_so(five_image_cache, tmp_path, cache_again, capsys):
    rows = [image_row("1", encoded(make_image(seed=77)))]
    other = write_benchmark(tmp_path / "other", {"train": rows})
    assert cache_again(five_image_cache, "--verify", "5", data=other) == 2
    assert "none of the 1 images are in" in capsys.readouterr().err
