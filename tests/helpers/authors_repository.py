# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A Hub with the authors' repository and those of the towers, in their layouts and at small size.

Names of checkpoints were chosen by nobody who knows this library: several have one file name, one is a part of another,
one holds spaces. The towers have the names that transformers gives CLIP and SAM, and what else such repositories hold.
"""

import json
import tempfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from transformers import CLIPConfig, CLIPModel

from ssp_sam import SspSamModel
from ssp_sam.modeling_ssp_sam.conversion.convert import convert_weights
from ssp_sam.modeling_ssp_sam.conversion.towers import NamedWeights
from ssp_sam.modeling_ssp_sam.conversion.weight_map import ORIGINAL_RULES
from tests.helpers.golden_weights import made_once, make_weights
from tests.helpers.hub_server import LocalHub
from tests.helpers.original_checkpoints import CLIP, IMAGE_ENCODER, save_checkpoint, save_tokenizer
from tests.helpers.original_shapes import CheckpointSizes, checkpoint_shapes

AUTHORS, BASE, LARGE, SAM = (
    "wayneicloud/SSP-SAM",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14-336",
    "facebook/sam-vit-huge",
)
WHOLE = "output/SSP_SAM_CLIP_B_FT_unc/checkpoint_best_miou.pth"
WHOLE_PLUS = "output/SSP_SAM_CLIP_B_FT_unc+/checkpoint_best_miou.pth"
WITHOUT_TOWERS = "output/SSP_SAM_CLIP_L_FT_grefcoco/checkpoint_best_miou.pth"
OLD_FORM = "merge pretrain (final).pth"
CHECKPOINTS = (OLD_FORM, WHOLE, WHOLE_PLUS, WITHOUT_TOWERS)

# CLIP with the patches of ViT-L/14 at 336 and the same small SAM.
LARGE_SIZES = CheckpointSizes(
    patch=14, grid=24, vision_width=128, vision_layers=8, projection=96, text_width=64, text_layers=2, vocabulary=200,
    adapter=64, prompt=32, prompt_tokens=8, fusion_layers=2, fusion_hidden=64, sam_width=32, sam_layers=2, sam_heads=2,
    sam_grid=8, sam_window=3, sam_global=(1,), decoder_hidden=64,
)  # fmt: skip


@made_once
def large_weights() -> dict[str, torch.Tensor]:
    """All weights of the checkpoint with the larger CLIP, towers included."""
    return make_weights(checkpoint_shapes(LARGE_SIZES), LARGE_SIZES.vision_layers)


def hub_with_authors_repository() -> LocalHub:
    """A Hub, to be used as a context manager, that holds the four repositories."""
    hub = LocalHub()
    for repo_id, files in _repositories().items():
        hub.publish(repo_id, files)
    hub.datasets.add("someone/a-dataset")
    return hub


@cache
def _repositories() -> dict[str, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        authors = _authors_files(folder)
        convert_weights(
            NamedWeights.of(torch.load(folder / "base.pth")["model"], ORIGINAL_RULES, "base"), folder / "base"
        )
        convert_weights(NamedWeights.of(large_weights(), ORIGINAL_RULES, "large"), folder / "large")
        base, large = (SspSamModel.from_pretrained(folder / name) for name in ("base", "large"))
        base.sam.save_pretrained(folder / "sam")
        save_tokenizer(folder / "tokenizer")
        tokenizer = {path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()}
        weights = load_file(folder / "sam" / "model.safetensors")
        # Older files of SAM have the other one of two tied names.
        weights["prompt_encoder.shared_embedding.positional_embedding"] = weights.pop(
            "shared_image_embedding.positional_embedding"
        )
        sam = {
            "README.md": b"---\nlicense: apache-2.0\n---\n# SAM\n",
            "config.json": (folder / "sam" / "config.json").read_bytes(),
            "model.safetensors": save(weights, {"format": "pt"}),
            "preprocessor_config.json": b"{}",
            "tf_model.h5": b"not wanted",
        }
        return {
            AUTHORS: authors,
            BASE: {**_clip_files(base, folder / "clip-base"), **tokenizer},
            LARGE: {**_clip_files(large, folder / "clip-large", pickled=True), **tokenizer},
            SAM: sam,
        }


def _authors_files(folder: Path) -> dict[str, bytes]:
    save_checkpoint(folder / "base.pth", after_first_forward=True)
    content = torch.load(folder / "base.pth", weights_only=False)
    content["args"] = None
    torch.save(content, folder / "base.pth")
    plus = {name: tensor * 1.5 if name == "mlp.weight" else tensor for name, tensor in content["model"].items()}
    torch.save({**content, "model": plus}, folder / "plus.pth")
    torch.save(content, folder / "old.pth", _use_new_zipfile_serialization=False)
    kept = {name: value for name, value in large_weights().items() if not name.startswith((*CLIP, *IMAGE_ENCODER))}
    torch.save({"model": kept, "epoch": 99}, folder / "large.pth")
    return {
        ".gitattributes": b"*.pth filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": "# SSP-SAM\n\n基于SAM的指代分割\n".encode(),
        "data_seg/anns/grefcoco.json": b'{"val": []}',
        "data_seg/run.sh": b"python data_process.py\n",
        "figs/overview.png": b"\x89PNG",
        OLD_FORM: (folder / "old.pth").read_bytes(),
        WHOLE: (folder / "base.pth").read_bytes(),
        WHOLE_PLUS: (folder / "plus.pth").read_bytes(),
        WITHOUT_TOWERS: (folder / "large.pth").read_bytes(),
    }


def _clip_files(model: SspSamModel, folder: Path, pickled: bool = False) -> dict[str, bytes]:
    """The files of a `CLIPModel` with the towers of a model."""
    fields = {part: getattr(model.config, part).to_dict() for part in ("vision_config", "text_config")}
    clip = CLIPModel(CLIPConfig(**fields, projection_dim=model.config.vision_config.projection_dim))
    clip.vision_model, clip.visual_projection = model.vision_model.vision_model, model.vision_model.visual_projection
    clip.text_model, clip.text_projection = model.text_model.text_model, model.text_model.text_projection
    clip.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for tower, count in (("text", 77), ("vision", clip.config.vision_config.image_size**2 // 14**2 + 1)):
        weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(count)[None]
    files = {
        "README.md": b"---\ntags:\n- vision\n---\n# CLIP\n",
        "config.json": (folder / "config.json").read_bytes(),
        "preprocessor_config.json": json.dumps({"crop_size": 224}).encode(),
        "flax_model.msgpack": b"not wanted",
    }
    if pickled:  # some repositories have no safetensors
        torch.save(weights, folder / "pytorch_model.bin")
        return {**files, "pytorch_model.bin": (folder / "pytorch_model.bin").read_bytes()}
    return {**files, "model.safetensors": save(weights, {"format": "pt"})}
