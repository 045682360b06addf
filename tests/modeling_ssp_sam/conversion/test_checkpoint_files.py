# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reading checkpoints: what a damaged or hostile file is told in one sentence, before it costs memory or time."""

import collections
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ssp_sam.modeling_ssp_sam.conversion.checkpoint_files import CheckpointError, read_weights
from ssp_sam.modeling_ssp_sam.conversion.convert import convert_weights
from ssp_sam.modeling_ssp_sam.conversion.pickle_check import MAX_BYTES
from ssp_sam.modeling_ssp_sam.conversion.towers import NamedWeights
from ssp_sam.modeling_ssp_sam.conversion.weight_map import ORIGINAL_RULES
from tests.helpers.golden_reference import original_weights
from tests.helpers.original_checkpoints import save_torchscript

WEIGHTS = {"a.weight": torch.arange(60.0).reshape(30, 2), "b": torch.zeros(3)}


def save(folder: Path, form: str) -> Path:
    """Writes `WEIGHTS` in one of the forms that are read."""
    path = folder / ("best.safetensors" if form == "safetensors" else "best.pth")
    if form == "safetensors":
        save_file(WEIGHTS, path)
    elif form == "TorchScript":
        save_torchscript(path, WEIGHTS)
    else:
        torch.save({"model": WEIGHTS, "epoch": 3}, path, _use_new_zipfile_serialization=form == "new")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


FORMS = ("new", "old", "TorchScript", "safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_weights(tmp_path, form):
    found = read_weights(save(tmp_path, form))
    assert found.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_off_anywhere_is_refused_in_one_sentence(tmp_path, form):
    path = save(tmp_path, form)
    content = path.read_bytes()
    lengths = range(0, len(content), 1 + len(content) // 150)
    assert len(lengths) > 70
    for length in lengths:
        path.write_bytes(content[:length])
        assert "fetch it again" in refusal(path) or "not written by torch.save" in refusal(path), length


@pytest.mark.parametrize("form", FORMS)
def test_a_file_changed_anywhere_is_read_or_refused_in_one_sentence(tmp_path, form):
    path = save(tmp_path, form)
    content, generator, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(generator.choice([1, 1, 2, 8])):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        path.write_bytes(changed)
        try:
            read_weights(path)
        except CheckpointError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_what_a_training_keeps_beside_its_weights_is_no_obstacle(tmp_path):
    kept = {
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0)}},
            "param_groups": [{"betas": (0.9, 0.99), "params": [0]}],
        },
        "lr_scheduler": {"milestones": collections.Counter([60]), "base_lrs": [1e-4]},
        "best_miou": np.float64(69.09),
        "per_class": np.arange(4),
        "shape": torch.Size([1, 2]),
        "dtype": torch.float32,
    }
    for form in (True, False):
        torch.save({"model": WEIGHTS, **kept}, tmp_path / "best.pth", _use_new_zipfile_serialization=form)
        assert torch.equal(read_weights(tmp_path / "best.pth")["a.weight"], WEIGHTS["a.weight"])


# ---- hostile pickles ------------------------------------------------------------------------------------------------


def pickled(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def called(module: str, name: str, arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + arguments + b"R"


def long(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def nested_tuple(levels: int) -> bytes:
    """A tuple of two tuples of two tuples ..., each built once, so that hashing it takes 2 ** levels steps."""
    return b"K\x01q\x01" + b"h\x01\x86q\x01" * levels


HOSTILE = {
    "an index of the memo": (pickled(b"]", b"r", struct.pack("<I", 0x7FFFFFFF)), "the memo index 2147483647"),
    "an index that was not set": (pickled(b"h\x05"), "reads the memo index 5"),
    "keys of one hash": (pickled(b"}(", *(long(i * (2**61 - 1)) + b"K\x01" for i in range(2, 400)), b"u"), "number of"),
    "a key that is slow to hash": (pickled(b"}", nested_tuple(60), b"K\x01s"), "a tuple of more than 1000 values"),
    "a long tuple as key": (
        pickled(b"}", b"(", b"K\x01" * 100, b"tK\x01s"),
        "a key that is no string, number or short",
    ),
    "a list as key": (pickled(b"}", b"]K\x01s"), "a key that is no string, number or short"),
    "a long array": (pickled(called("builtins", "bytearray", b"J\xff\xff\xff\x7f\x85")), "asks for the Python object"),
    "a slow codec": (pickled(called("_codecs", "encode", text("ü" * 9) + text("punycode") + b"\x86")), "than latin1"),
    "a changed function": (
        pickled(b"ctorch._utils\n_rebuild_tensor_v2\n", b"N}", text("a"), b"K\x01s\x86b"),
        "changes an",
    ),
    "a foreign instruction": (pickled(b"\x8c\x01a"), "the instruction SHORT_BINUNICODE"),
    "no operands": (pickled(b"s"), "does not make sense at the instruction SETITEM"),
    "no mark": (pickled(b"}u"), "does not make sense at the instruction SETITEMS"),
    "a mark as operand": (pickled(b"}(s"), "does not make sense at the instruction SETITEM"),
    "a long text": (pickled(text("a" * (MAX_BYTES + 1))), "longer than"),
    "no end": (b"\x80\x02]", "truncated or damaged"),
}


@pytest.mark.parametrize("form", ["new", "old", "TorchScript"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_before_it_is_built(tmp_path, name, form):
    path = tmp_path / "evil.pth"
    content, reason = HOSTILE[name]
    if form == "old":
        torch.save({}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:15] + content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", content)
            archive.writestr("evil/version", "3\n")
            if form == "TorchScript":
                archive.writestr("evil/constants.pkl", pickled(b")"))
    message = refusal(path)
    assert reason in message or (form == "TorchScript" and "asks for the Python object _codecs.encode" in message)


def test_records_larger_than_the_file_are_refused_unpacked(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02]" + b"0]" * 10**6 + b".")
    assert "its records are larger than the file" in refusal(path)


def test_a_tensor_that_repeats_one_number_without_end_is_refused(tmp_path):
    torch.save({"model": {"a": torch.ones(1).expand(10**7, 10**7)}}, tmp_path / "best.pth")
    assert "its tensor a is larger than its data" in refusal(tmp_path / "best.pth")


def test_many_names_of_one_tensor_are_refused(tmp_path):
    tensor = torch.ones(1000)
    torch.save({"model": {f"layer.{index}": tensor for index in range(1000)}}, tmp_path / "best.pth")
    assert "tensors of 4000000 bytes in a file of" in refusal(tmp_path / "best.pth")


def test_a_module_that_holds_itself_is_refused(tmp_path):
    module = b"c__torch__\nNode\n)\x81q\x00}" + text("inner") + b"h\x00sb"
    with zipfile.ZipFile(tmp_path / "clip.pt", "w") as archive:
        archive.writestr("clip/data.pkl", pickled(module))
        archive.writestr("clip/constants.pkl", pickled(b")"))
    assert "stands in it twice" in refusal(tmp_path / "clip.pt")


# ---- tensors that make up no model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (2, 3, 5), (0, 0)], ids=str)
@pytest.mark.parametrize(
    "name",
    [
        "mlp.weight",
        "clip_proj.weight",
        "prompt_token.weight",
        "encoder.visual.conv1.weight",
        "encoder.visual.positional_embedding",
        "encoder.visual.proj",
        "encoder.token_embedding.weight",
        "sam.image_encoder.pos_embed",
        "sam.image_encoder.blocks.0.attn.rel_pos_h",
        "sam.mask_decoder.iou_token.weight",
        "vl_transformer.encoder.layers.0.self_attn.in_proj_weight",
    ],
)
def test_shapes_that_no_model_has_are_told_in_one_sentence(tmp_path, name, shape):
    with pytest.raises(CheckpointError) as caught:
        weights = NamedWeights.of({**original_weights(), name: torch.zeros(shape)}, ORIGINAL_RULES, "best.pth")
        convert_weights(weights, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
