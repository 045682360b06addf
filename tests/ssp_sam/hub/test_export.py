# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the exporter writes, what it refuses, and what a changed weight file does to loading."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.dynamic_module_utils import get_imports, get_relative_imports

from ssp_sam import SspSamModel
from ssp_sam.cli.main import main
from ssp_sam.hub import check as hub_check
from ssp_sam.hub import export as hub_export
from ssp_sam.hub.check import check_export
from ssp_sam.hub.export import file_tree
from ssp_sam.hub.samples import Sample
from ssp_sam.training import atomic_files
from tests.helpers.hub_fixtures import EXPRESSIONS, export_tiny
from tests.helpers.models import make_image

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory) -> Path:
    return export_tiny(tiny_checkpoint, tmp_path_factory.mktemp("export") / "tiny-model")


@pytest.fixture
def copy(tiny_checkpoint, tmp_path) -> Path:
    """An export of one's own to damage."""
    return export_tiny(tiny_checkpoint, tmp_path / "tiny-model")


# ---- files ----------------------------------------------------------------------------------------------------------


def test_everything_a_stranger_needs_is_there(exported):
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert names >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "requirements.txt",
        "samples/picture.png",
        "configuration_ssp_sam.py",
        "modeling_ssp_sam.py",
        "processing_ssp_sam.py",
        "image_processing_ssp_sam.py",
        "pipeline_ssp_sam.py",
        "handler.py",
        "endpoint_images.py",
    }


def test_the_code_is_flat_and_complete_and_needs_few_libraries(exported):
    modules = {path.stem for path in exported.glob("*.py")}
    for path in exported.glob("*.py"):
        assert set(get_relative_imports(path)) <= modules, path.name
        allowed = {"torch", "transformers", "huggingface_hub", "safetensors", "numpy", "PIL"}
        outside = {name for name in get_imports(path) if name not in allowed and name not in sys.stdlib_module_names}
        own = modules if path.name in ("handler.py", "endpoint_images.py") else set()  # which lie on sys.path there
        assert outside <= own, f"{path.name}: {outside}"


def test_only_code_that_the_entry_points_reach_is_written(exported):
    imported = {name for path in exported.glob("*.py") for name in get_relative_imports(path)}
    references = {reference.split(".")[0] for reference in hub_export._references().values()}
    assert {path.stem for path in exported.glob("*.py")} == imported | references | {"handler", "endpoint_images"}


def test_the_settings_name_the_code_and_the_weights(exported):
    config = json.loads((exported / "config.json").read_text("utf-8"))
    assert config["auto_map"] == {
        "AutoConfig": "configuration_ssp_sam.SspSamConfig",
        "AutoModel": "modeling_ssp_sam.SspSamModel",
    }
    assert config["custom_pipelines"]["referring-segmentation"] == {
        "impl": "pipeline_ssp_sam.ReferringSegmentationPipeline",
        "pt": ["AutoModel"],
        "type": "multimodal",
    }
    assert list(config["weights_sha256"]) == ["model.safetensors"]
    processor = json.loads((exported / "processor_config.json").read_text("utf-8"))
    assert processor["auto_map"] == {"AutoProcessor": "processing_ssp_sam.SspSamProcessor"}
    assert processor["image_processor"]["auto_map"] == {
        "AutoImageProcessor": "image_processing_ssp_sam.SspSamImageProcessor"
    }
    assert "is_local" not in json.loads((exported / "tokenizer_config.json").read_text("utf-8"))


def test_everybody_may_read_the_files(exported):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in exported.rglob("*") if path.is_file())


def test_the_requirements_are_those_of_the_package(exported):
    wanted = set((exported / "requirements.txt").read_text("utf-8").split())
    assert wanted <= set(re.findall(r'"([a-z]+[><=][^"]+)"', (ROOT / "setup.py").read_text("utf-8")))


def test_large_weights_are_split_and_each_part_is_checked(tiny_checkpoint, tmp_path):
    folder = export_tiny(tiny_checkpoint, tmp_path / "tiny-model", max_shard_size="60KB")
    checksums = json.loads((folder / "config.json").read_text("utf-8"))["weights_sha256"]
    assert len(checksums) > 1 and set(checksums) == {path.name for path in folder.glob("*.safetensors")}
    weights, expected = (SspSamModel.from_pretrained(path).state_dict() for path in (folder, tiny_checkpoint))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("size", [0, 5, 20_000])
def test_weights_that_were_cut_off_are_named(size, copy, tiny_checkpoint, tmp_path, capsys):
    plain = tmp_path / "plain"
    shutil.copytree(tiny_checkpoint, plain)
    for folder, message in (
        (copy, "model.safetensors of '.*' does not hold the weights"),
        (plain, "damaged or cut off"),
    ):
        os.truncate(folder / "model.safetensors", size)
        with pytest.raises(OSError, match=message):
            SspSamModel.from_pretrained(folder)
        assert main(["segment", str(ROOT / "examples/scene.png"), "a dog", "--model", str(folder)]) == 2
        assert re.search(message, capsys.readouterr().err)


# ---- where it may write ---------------------------------------------------------------------------------------------


def test_an_earlier_export_is_replaced_only_when_asked(copy, tiny_checkpoint):
    (copy / "stale.py").write_text("", "utf-8")
    with pytest.raises(FileExistsError, match="holds an earlier export"):
        export_tiny(tiny_checkpoint, copy)
    assert (copy / "stale.py").is_file()
    export_tiny(tiny_checkpoint, copy, overwrite=True)
    assert not (copy / "stale.py").exists() and (copy / "model.safetensors").is_file()


def test_foreign_folders_and_files_are_left_alone(tiny_checkpoint, tmp_path):
    (folder := tmp_path / "photos").mkdir()
    (folder / "config.json").write_text('{"model_type": "ssp_sam"}', "utf-8")
    for target in (folder, folder / "config.json"):
        with pytest.raises(FileExistsError, match="left alone|got the file"):
            hub_export.export_model(tiny_checkpoint, target, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_an_overwritten_export_is_never_gone(copy, tiny_checkpoint, monkeypatch):
    """Whatever is done to the names beside the export, its own always names a whole one."""
    states = []
    exchange = atomic_files._exchange

    def watch(first, second):
        states.append((copy / "config.json").is_file())
        done = exchange(first, second)
        states.append((copy / "config.json").is_file())
        return done

    monkeypatch.setattr(atomic_files, "_exchange", watch)
    export_tiny(tiny_checkpoint, copy, overwrite=True)
    assert states == [True, True] and [path.name for path in copy.parent.iterdir() if path.name[0] == "."] == []


def test_a_failure_leaves_no_half_of_an_export(tiny_checkpoint, tmp_path):
    (broken := tmp_path / "broken.png").write_text("no picture", "utf-8")
    with pytest.raises(ValueError, match="broken.png"):
        export_tiny(tiny_checkpoint, tmp_path / "new", samples=[Sample(broken, ("a dog",))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.png", "picture.png"]


# ---- weights that are not those that were exported ------------------------------------------------------------------


def test_a_changed_weight_is_refused(copy):
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1  # still a valid file of the same length
    weights.write_bytes(content)
    with pytest.raises(
        OSError, match=r"model.safetensors of '.*' does not hold the weights that were exported: SHA-256"
    ):
        SspSamModel.from_pretrained(copy)


def test_a_missing_weight_file_is_refused(tiny_checkpoint, tmp_path):
    folder = export_tiny(tiny_checkpoint, tmp_path / "tiny-model", max_shard_size="60KB")
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(OSError, match=r"model-0000\d-of"):
        SspSamModel.from_pretrained(folder)


def test_a_model_that_was_trained_on_and_saved_again_loads(copy):
    model = SspSamModel.from_pretrained(copy)
    with torch.no_grad():
        next(model.prompt_generator.parameters()).add_(1)
    model.save_pretrained(copy)  # over the export itself
    assert torch.equal(
        next(SspSamModel.from_pretrained(copy).prompt_generator.parameters()), next(model.prompt_generator.parameters())
    )


# ---- the check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["masks", "scores", "boxes", "logits"])
def test_an_export_that_predicts_otherwise_does_not_pass(exported, tiny_checkpoint, monkeypatch, kind):
    probe = hub_check.probe.predict
    damage = {}

    def remember(*words):
        damage.update({name: np.array(value) for name, value in probe(*words).items()})
        return probe(*words)

    def predict_otherwise(folder, requests, scratch):
        # Neither a mask's value, nor a score, nor a place in the picture; one pixel of a mask would be forgiven.
        damage[f"{kind} of request 0"].flat[:40] = 200
        return damage

    monkeypatch.setattr(hub_check.probe, "predict", remember)
    monkeypatch.setattr(hub_check, "_predict_without_package", predict_otherwise)
    with pytest.raises(ValueError, match=f"the {kind} of request 0 differ between"):
        check_export(exported, tiny_checkpoint)


@pytest.mark.long
def test_an_export_that_cannot_be_loaded_does_not_pass(copy, tiny_checkpoint):
    (copy / "segmentation_requests.py").unlink()
    with pytest.raises(ValueError, match="cannot be used without this package: .*segmentation_requests"):
        check_export(copy, tiny_checkpoint)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command_lists_what_it_wrote(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_image(20, 20).save("photo.png")
    words = ["export", "out", "--model", tiny_checkpoint, "--sample", "photo.png", *EXPRESSIONS, "--no-check"]
    assert main(words) == 0
    assert capsys.readouterr().out == file_tree(tmp_path / "out") + "\n"
    assert "samples/photo.png" in file_tree(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["full"], "'full' holds other files and is left alone"),
        (
            ["new", "--model", "nowhere/at/all"],
            "'nowhere/at/all' is no file or folder",
        ),
        (["new", "--report", "none.json"], "no file at --report 'none.json'"),
        (["new", "--report", "photo.png"], "photo.png"),
        (["new", "--facts", "facts.yaml"], "'facts.yaml' holds colour"),
        (["new", "--sample", "none.png", "a dog"], "no image file at --sample 'none.png'"),
        (["new", "--sample", "photo.png"], "--sample needs an image and expressions, got ['photo.png']"),
        (["new", "--sample", "photo.png", " "], "--sample needs an image and expressions"),
        (
            ["new", "--sample", "photo.png", "a", "--sample", "full/photo.png", "b"],
            "two samples are called 'photo.png'",
        ),
        (["new", "--model", "other"], "expected a model of type 'ssp_sam' at 'other', got type 'bert'"),
        (["new", "--max-shard-size", "huge"], "huge"),
        ([], "the following arguments are required: DIR"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(words, message, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("full", "other"):
        (tmp_path / folder).mkdir()
    make_image(20, 20).save("photo.png")
    make_image(20, 20).save("full/photo.png")
    (tmp_path / "facts.yaml").write_text("colour: red\n", "utf-8")
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    before = sorted(tmp_path.rglob("*"))
    model = [] if "--model" in words else ["--model", tiny_checkpoint]
    assert main(["export", *words, "--no-check", *model]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before
