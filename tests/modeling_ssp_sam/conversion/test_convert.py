# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The converter: every layout of the original's checkpoints in, a folder for transformers out, and clear refusals."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel, SamConfig, SamModel, pipeline

from ssp_sam import SspSamConfig
from ssp_sam.cli.main import main
from ssp_sam.modeling_ssp_sam.conversion.convert import convert
from tests.helpers.golden_reference import ABLATIONS, SMALL_SIZES, golden_inputs, golden_model, golden_tensors
from tests.helpers.original_checkpoints import (
    CLIP,
    IMAGE_ENCODER,
    clip_weights,
    sam_weights,
    save_checkpoint,
    save_tokenizer,
    save_torchscript,
)
from tests.helpers.processes import run_in_processes, run_script


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    return str(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> str:
    """A `CLIPModel` with the golden towers."""
    model = golden_model()
    fields = {part: getattr(model.config, part).to_dict() for part in ("vision_config", "text_config")}
    clip = CLIPModel(CLIPConfig(**fields, projection_dim=64))
    clip.vision_model, clip.visual_projection = model.vision_model.vision_model, model.vision_model.visual_projection
    clip.text_model, clip.text_projection = model.text_model.text_model, model.text_model.text_projection
    folder = tmp_path_factory.mktemp("clip")
    clip.save_pretrained(folder)
    return str(folder)


def assert_same_weights(folder: Path, expected, dtype=torch.float32):
    loaded, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    found, wanted = loaded.state_dict(), expected.state_dict()
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == (dtype if wanted[name].is_floating_point() else wanted[name].dtype), name
        assert torch.equal(found[name], wanted[name].to(found[name].dtype)), name
    return loaded


def refusal(capsys, *arguments) -> str:
    """The one line in which the command refuses."""
    capsys.readouterr()  # what the test itself has printed
    assert main(["convert", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("ssp-sam: ")
    return lines[0]


# ---- what it writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_first_forward", [False, True], ids=["before the first forward", "after it"])
def test_a_checkpoint_becomes_the_golden_model(tmp_path, after_first_forward):
    checkpoint = save_checkpoint(tmp_path / "best.pth", after_first_forward=after_first_forward)
    config = convert(checkpoint, tmp_path / "out")
    expected = SspSamConfig.from_preset("paper_b16", **SMALL_SIZES)
    ignored = {"architectures", "dtype", "transformers_version"}
    found, wanted = config.to_dict(), expected.to_dict()
    assert {key: found[key] for key in found if key not in ignored} == {
        key: wanted[key] for key in wanted if key not in ignored
    }
    model = assert_same_weights(tmp_path / "out", golden_model()).eval()
    with torch.no_grad():
        output = model(**golden_inputs())
    torch.testing.assert_close(output.pred_masks, golden_tensors()["inter.low_res_masks"], atol=1e-4, rtol=0)


def test_a_converted_folder_works_in_a_pipeline(tmp_path, tokenizer):
    convert(save_checkpoint(tmp_path / "best.pth"), tmp_path / "out", tokenizer=tokenizer)
    segmenter = pipeline("referring-segmentation", model=str(tmp_path / "out"))
    answers = segmenter(Image.new("RGB", (60, 40), "red"), ["the red ball", "a dog"])
    assert [answer["label"] for answer in answers] == ["the red ball", "a dog"]
    assert all(answer["mask"].size == (60, 40) for answer in answers)


def test_the_processor_prepares_expressions_as_the_original_does(tmp_path, tokenizer):
    convert(save_checkpoint(tmp_path / "best.pth"), tmp_path / "out", tokenizer=tokenizer)
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(images=Image.new("RGB", (60, 40), "red"), text="  The Dog ")
    ids = inputs["input_ids"][0]
    assert ids.shape == (77,)
    assert ids[0] == 198 and ids.max() == ids[len("thedog.") + 1] == 199
    assert (ids[len("thedog.") + 2 :] == 0).all()
    assert inputs["pixel_values"].shape == (1, 3, 128, 128)
    assert inputs["semantic_pixel_values"].shape == (1, 3, 112, 112)


def test_half_precision_and_shards_hold_the_same_weights(tmp_path):
    convert(save_checkpoint(tmp_path / "best.pth"), tmp_path / "out", dtype="float16", max_shard_size="400KB")
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(files) > 5 and set(index["weight_map"].values()) == set(files)
    assert_same_weights(tmp_path / "out", golden_model(), torch.float16)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_row_of_the_ablation_converts_to_its_preset(tmp_path, name):
    config = convert(save_checkpoint(tmp_path / "best.pth", name), tmp_path / "out", variant=name)
    preset = SspSamConfig.from_preset(name, **SMALL_SIZES)
    for field in ("num_surgery_layers", "verification", "linguistic_adapter", "prompt_source", "fusion_layer_type"):
        assert getattr(config, field) == getattr(preset, field)
    assert_same_weights(tmp_path / "out", golden_model(name))


# ---- where missing towers come from --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["TorchScript archive", "state dict", "safetensors", "CLIPModel"])
def test_a_missing_clip_comes_from_its_own_file(tmp_path, clip_folder, form):
    source = {}
    if form == "TorchScript archive":
        source["clip"] = save_torchscript(tmp_path / "ViT-B-16.pt", clip_weights())
    elif form == "state dict":
        source["clip"] = tmp_path / "clip.pt"
        torch.save(clip_weights(), source["clip"])
    elif form == "safetensors":
        source["clip"] = tmp_path / "clip.safetensors"
        save_file(clip_weights(), source["clip"])
    else:
        source["clip_model"] = clip_folder
    save_tokenizer(Path(clip_folder))
    convert(save_checkpoint(tmp_path / "best.pth", without=CLIP), tmp_path / "out", **source)
    assert_same_weights(tmp_path / "out", golden_model())
    assert (tmp_path / "out" / "processor_config.json").exists() == (form == "CLIPModel")


@pytest.mark.parametrize("form", ["Meta's file", "SamModel"])
def test_a_missing_image_encoder_of_sam_comes_from_its_own_file(tmp_path, form):
    if form == "SamModel":
        golden_model().sam.save_pretrained(tmp_path / "sam")
        source = {"sam_model": str(tmp_path / "sam")}
    else:
        torch.save(sam_weights(), tmp_path / "sam.pth")
        source = {"sam": tmp_path / "sam.pth"}
    convert(save_checkpoint(tmp_path / "best.pth", without=IMAGE_ENCODER), tmp_path / "out", **source)
    assert_same_weights(tmp_path / "out", golden_model())


def test_files_of_old_torch_versions_are_read(tmp_path):
    content = torch.load(save_checkpoint(tmp_path / "new.pth"), weights_only=False)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pth", tmp_path / "out")
    assert_same_weights(tmp_path / "out", golden_model())


def test_the_command_runs_from_anywhere(tmp_path, tokenizer):
    save_checkpoint(tmp_path / "best.pth")
    script = Path(__file__).resolve().parents[3] / "scripts" / "convert_ssp_sam_checkpoint.py"
    words = [tmp_path, script, "--checkpoint", "best.pth", "--tokenizer", tokenizer, "--output", "out"]
    said = run_in_processes(run_script, words, tmp_path / "said").said()
    assert "img2img_attn" in said and "M parameters" in said
    assert (tmp_path / "out" / "model.safetensors").exists()


# ---- what it refuses -----------------------------------------------------------------------------------------------


class _Payload:
    """Creates a file when it is unpickled with trust."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["new", "old", "plain pickle"])
def test_a_pickle_that_carries_code_is_refused_and_not_run(tmp_path, capsys, form):
    path, content = tmp_path / "evil.pth", {"model": {"a": torch.ones(2)}, "args": _Payload(tmp_path / "marker")}
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({"args": _Payload(tmp_path / "marker")}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "new")
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert str(path) in message
    assert "not written by torch.save" in message if form == "plain pickle" else "posix.mkdir" in message
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out").exists()


def test_a_torchscript_archive_that_carries_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "clip.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", pickle.dumps({"a": _Payload(tmp_path / "marker")}, protocol=2))
        archive.writestr("clip/constants.pkl", pickle.dumps(()))
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
    message = refusal(capsys, "--checkpoint", checkpoint, "--clip", path, "--output", tmp_path / "out")
    assert str(path) in message and "posix.mkdir" in message
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("form", ["checkpoint", "old checkpoint", "archive"])
def test_a_truncated_file_is_refused(tmp_path, capsys, form):
    checkpoint, arguments = save_checkpoint(tmp_path / "best.pth"), []
    cut = checkpoint
    if form == "old checkpoint":
        torch.save(torch.load(checkpoint, weights_only=False), checkpoint, _use_new_zipfile_serialization=False)
    elif form == "archive":
        checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
        cut = save_torchscript(tmp_path / "clip.pt", clip_weights())
        arguments = ["--clip", cut]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    message = refusal(capsys, "--checkpoint", checkpoint, *arguments, "--output", tmp_path / "out")
    assert str(cut) in message and "truncated" in message


@pytest.mark.parametrize("form", ["checkpoint", "archive"])
def test_a_damaged_file_is_refused(tmp_path, capsys, form):
    checkpoint, arguments = save_checkpoint(tmp_path / "best.pth"), []
    damaged = checkpoint
    if form == "archive":
        checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
        damaged = save_torchscript(tmp_path / "clip.pt", clip_weights())
        arguments = ["--clip", damaged]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    message = refusal(capsys, "--checkpoint", checkpoint, *arguments, "--output", tmp_path / "out")
    assert f"cannot read {damaged} (its record " in message and "does not match its checksum" in message
    assert not (tmp_path / "out").exists()


def test_an_empty_file_is_refused(tmp_path, capsys):
    (tmp_path / "best.pth").touch()
    message = refusal(capsys, "--checkpoint", tmp_path / "best.pth", "--output", tmp_path / "out")
    assert message == f"ssp-sam: {tmp_path / 'best.pth'} is empty: fetch it again"


def test_a_text_file_is_refused(tmp_path, capsys):
    path = tmp_path / "best.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert f"{path} was not written by torch.save: it begins with b'version" in message


def test_a_checkpoint_of_another_project_is_refused_with_its_names(tmp_path, capsys):
    path = tmp_path / "resnet.pth"
    torch.save({"model": {"layer1.0.conv1.weight": torch.ones(4, 3, 1, 1), "fc.bias": torch.ones(5)}}, path)
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert f"{path}: 2 of 2 names are not of this layout: layer1.0.conv1.weight (4, 3, 1, 1), fc.bias (5,)" in message


def test_sam_given_as_checkpoint_is_refused(tmp_path, capsys):
    torch.save(sam_weights(), tmp_path / "sam.pth")
    message = refusal(capsys, "--checkpoint", tmp_path / "sam.pth", "--output", tmp_path / "out")
    assert "174 of 174 names are not of this layout: image_encoder.blocks.0" in message


def test_an_unknown_name_is_refused(tmp_path, capsys):
    path = save_checkpoint(tmp_path / "best.pth", **{"extra.weight": torch.ones(2)})
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert "extra.weight (2,)" in message


def test_missing_weights_are_listed(tmp_path, capsys):
    path = save_checkpoint(tmp_path / "best.pth", without=("text_proj.bias_ih_l0", "norm_img.weight"))
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert f"{path} lacks 3 weights: linguistic_adapter.forward_gru.bias_ih_l0" in message


def test_a_wrong_shape_is_refused_with_both_shapes(tmp_path, capsys):
    path = save_checkpoint(tmp_path / "best.pth", **{"norm_img.weight": torch.ones(63)})
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert f"norm_img.weight of {path} (63,), expected (64,)" in message


def test_a_clip_of_another_size_is_refused(tmp_path, capsys):
    weights = clip_weights()
    weights["visual.proj"], weights["text_projection"] = torch.ones(128, 96), torch.ones(64, 96)
    torch.save(weights, tmp_path / "clip.pt")
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
    message = refusal(capsys, "--checkpoint", checkpoint, "--clip", tmp_path / "clip.pt", "--output", tmp_path / "out")
    assert f"visual.proj of {tmp_path / 'clip.pt'} (96, 128) does not fit clip_img_proj.layers.0.weight" in message
    assert "with 64 there, not 96" in message


def test_a_clip_with_another_grid_is_refused(tmp_path, capsys):
    weights = {**clip_weights(), "visual.positional_embedding": torch.ones(65, 128)}
    torch.save(weights, tmp_path / "clip.pt")
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
    message = refusal(capsys, "--checkpoint", checkpoint, "--clip", tmp_path / "clip.pt", "--output", tmp_path / "out")
    assert "visual.positional_embedding" in message and "with 49 there, not 64" in message


def test_a_clip_model_of_another_size_is_refused(tmp_path, capsys):
    vision = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 112, "patch_size": 16}
    text = {"hidden_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 200}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=64)).save_pretrained(tmp_path / "clip")
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
    message = refusal(
        capsys, "--checkpoint", checkpoint, "--clip-model", tmp_path / "clip", "--output", tmp_path / "out"
    )
    assert f"text_model.final_layer_norm.weight of {tmp_path / 'clip'} (96,) does not fit clip_proj.weight" in message
    assert f"of {checkpoint} (64, 64)" in message


def test_a_clip_with_a_convolutional_image_tower_is_refused(tmp_path, capsys):
    weights = {name: tensor for name, tensor in clip_weights().items() if not name.startswith("visual.")}
    torch.save({**weights, "visual.layer1.0.conv1.weight": torch.ones(4, 4, 1, 1)}, tmp_path / "RN50.pt")
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=CLIP)
    message = refusal(capsys, "--checkpoint", checkpoint, "--clip", tmp_path / "RN50.pt", "--output", tmp_path / "out")
    assert f"{tmp_path / 'RN50.pt'}: 1 of " in message and "visual.layer1.0.conv1.weight (4, 4, 1, 1)" in message


def test_a_sam_model_of_another_size_is_refused(tmp_path, capsys):
    vision = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "mlp_dim": 8, "image_size": 128}
    prompts = {"hidden_size": 32, "image_size": 128, "image_embedding_size": 8}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config={"hidden_size": 32})
    SamModel(config).save_pretrained(tmp_path / "sam")
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=IMAGE_ENCODER)
    arguments = ["--checkpoint", checkpoint, "--sam-model", tmp_path / "sam", "--output", tmp_path / "out"]
    message = refusal(capsys, *arguments)
    assert f"vision_encoder.pos_embed of {tmp_path / 'sam'} (1, 8, 8, 768) is SAM ViT-B" in message
    message = refusal(capsys, *arguments, "--allow-other-sam")  # its prompt encoder fits no more than the rest
    assert f"{checkpoint} (" in message and "does not have the shape of" in message


@pytest.mark.parametrize("option", ["--clip-model", "--sam-model"])
def test_a_folder_without_a_model_is_refused(tmp_path, capsys, option):
    save_tokenizer(tmp_path / "tokenizer")
    missing = CLIP if option == "--clip-model" else IMAGE_ENCODER
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=missing)
    message = refusal(capsys, "--checkpoint", checkpoint, option, tmp_path / "tokenizer", "--output", tmp_path / "out")
    assert f"cannot load {tmp_path / 'tokenizer'}, expected the folder or hub id of a " in message


def test_a_sam_model_that_is_not_needed_is_said_to_be_left_out(tmp_path):
    checkpoint = save_checkpoint(tmp_path / "best.pth")
    said = []
    convert(checkpoint, tmp_path / "out", sam_model="facebook/sam-vit-base", say=said.append)
    assert f"{checkpoint} holds all of SAM, so facebook/sam-vit-base was not read" in said


@pytest.mark.parametrize("has_encoder", [True, False], ids=["checkpoint with an encoder", "checkpoint without"])
def test_a_sam_of_another_size_is_refused(tmp_path, capsys, has_encoder):
    path = tmp_path / "sam_vit_b.pth"
    torch.save({**sam_weights(), "image_encoder.pos_embed": torch.ones(1, 8, 8, 768)}, path)
    checkpoint = save_checkpoint(tmp_path / "best.pth", without=() if has_encoder else IMAGE_ENCODER)
    message = refusal(capsys, "--checkpoint", checkpoint, "--sam", path, "--output", tmp_path / "out")
    assert f"image_encoder.pos_embed of {path} (1, 8, 8, 768)" in message
    expected = "(1, 8, 8, 32); give the file" if has_encoder else "is SAM ViT-B, but SSP-SAM is trained on ViT-H"
    assert expected in message


@pytest.mark.parametrize(("without", "option"), [(CLIP, "--clip"), (IMAGE_ENCODER, "--sam")])
def test_a_missing_tower_says_which_option_gives_it(tmp_path, capsys, without, option):
    path = save_checkpoint(tmp_path / "best.pth", without=without)
    message = refusal(capsys, "--checkpoint", path, "--output", tmp_path / "out")
    assert f"{path} holds no" in message and option in message


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, capsys):
    save_tokenizer(tmp_path / "tokenizer", vocab_size=210)
    path = save_checkpoint(tmp_path / "best.pth")
    message = refusal(capsys, "--checkpoint", path, "--tokenizer", tmp_path / "tokenizer", "--output", tmp_path / "out")
    assert "knows ids below 200 and whose end of text is the largest id; its end of text is 209, its" in message


def test_surgery_that_the_variant_does_not_have_is_refused(tmp_path, capsys):
    path = save_checkpoint(tmp_path / "best.pth", after_first_forward=True)
    message = refusal(capsys, "--checkpoint", path, "--variant", "only_LAD", "--output", tmp_path / "out")
    assert "CLIP with surgery" in message and "'only_LAD'" in message


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    message = refusal(capsys, "--checkpoint", save_checkpoint(tmp_path / "best.pth"), "--output", tmp_path / "out")
    assert f"{tmp_path / 'out'} exists already" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
