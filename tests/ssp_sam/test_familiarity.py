# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The hint of the embedded checkpoint: for words and photographs that it does not know, and for nothing else."""

import warnings

import pytest
from PIL import Image

import ssp_sam
from ssp_sam import EMBEDDED_CHECKPOINT, ReferringSegmentationPipeline
from ssp_sam.cli.main import main
from ssp_sam.demo.session import DemoSegmenter, describe_state
from ssp_sam.familiarity import hint_for, is_unfamiliar
from ssp_sam.modeling_ssp_sam.embedded_model import EmbeddedModelWarning, embedded_hint
from ssp_sam.training.scenes.backgrounds import PHOTOGRAPH_FOLDER
from ssp_sam.training.scenes.generator import generate_scene

PHOTOGRAPHS = ("astronaut_suit", "brick", "camera", "coffee", "gravel", "hubble", "retina")
pytestmark = pytest.mark.skipif(not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint")


@pytest.fixture(scope="module")
def embedded() -> ReferringSegmentationPipeline:
    """The pipeline of the embedded checkpoint."""
    return ssp_sam.pipeline()


def photograph(name: str) -> Image.Image:
    return Image.open(PHOTOGRAPH_FOLDER / f"{name}.jpg").convert("RGB")


def result(no_target: bool, *unknown_words: str) -> dict:
    return {"no_target": no_target, "unknown_words": list(unknown_words)}


@pytest.mark.parametrize(
    "results, unfamiliar, expected",
    [
        ([result(False), result(True)], False, None),
        ([result(True), result(True)], False, "nothing was found: the embedded"),
        ([result(True)], True, "this image is unlike what the model knows: the embedded"),
        ([result(False, "zebra", "gnu"), result(False, "gnu")], False, "the model does not know 'zebra', 'gnu': the"),
        ([result(True, "gnu")], True, "unlike what the model knows, and the model does not know 'gnu': the embedded"),
        ([result(False, *"abcdef")], False, "'d', 'e' …: the embedded"),
    ],
)
def test_the_hint_says_why_and_names_the_way_out(results, unfamiliar, expected):
    hint = embedded_hint(results, unfamiliar)
    if expected is None:
        assert hint is None
    else:
        assert expected in hint and hint.endswith("run: ssp-sam pull wayneicloud/SSP-SAM") and "\n" not in hint


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_unlike_what_the_model_knows(embedded, name):
    assert is_unfamiliar(embedded, photograph(name))


@pytest.mark.parametrize("seed", range(3))
def test_scenes_are_what_the_model_knows(embedded, seed):
    assert not is_unfamiliar(embedded, generate_scene(seed, "test").image)


def test_other_models_give_no_hint(segmenter):
    image = photograph("brick")
    assert hint_for(segmenter, image, [result(True, "gnu")]) is None


def test_the_pipeline_warns_once_per_process(embedded, monkeypatch):
    monkeypatch.setattr(ReferringSegmentationPipeline, "has_warned", False)
    with pytest.warns(EmbeddedModelWarning, match="the model does not know 'gnu'"):
        embedded(photograph("brick"), "a gnu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded(photograph("brick"), "a gnu")


@pytest.mark.parametrize("command", ["segment", "explain"])
def test_the_command_says_it_in_one_line_on_standard_error(tmp_path, capsys, command):
    words = [command, str(PHOTOGRAPH_FOLDER / "gravel.jpg"), "the dog", "--output", str(tmp_path / "o.png")]
    assert main(words) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "embedded checkpoint" in line]
    assert len(lines) == 1 and lines[0].startswith("ssp-sam: this image is unlike what the model knows: ")
    assert "1. the dog: nothing found" in said.out and "1.00" not in said.out.split("weights")[0]


def test_the_page_of_the_demo_says_it(embedded, tmp_path):
    photograph("brick").save(tmp_path / "photo.png")
    segmenter = DemoSegmenter(embedded)
    state = segmenter.segment(segmenter.open(str(tmp_path / "photo.png")), "the dog")
    page = describe_state(state)
    assert 'role="note">this image is unlike what the model knows' in page and "nothing found</small>" in page
    state = segmenter.segment(state, "everything\nthe dog")
    assert state.hint is not None


def test_a_known_scene_gives_no_hint(embedded):
    scene = generate_scene(0, "test").image
    results = embedded(scene, ["everything"])
    assert hint_for(embedded, scene, results) is None
