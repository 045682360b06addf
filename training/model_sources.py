# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Where the model of a run comes from: a checkpoint, an existing model, existing towers, or a configuration."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from ..configuration.configuration_ssp_sam import SspSamConfig
from ..configuration.presets import preset_fields
from ..modeling_ssp_sam.conversion.checkpoint_sources import check_source, list_folder
from ..modeling_ssp_sam.conversion.pull import resolve_model
from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ..processing.processing_ssp_sam import SspSamProcessor
from .adapters import ADAPTER_CONFIG, adapt
from .arguments import AdapterArguments, ModelArguments
from .scenes.tokenizer import build_word_tokenizer
from .scenes.words import VOCABULARY_WORDS

EMBEDDED = Path(str(files("ssp_sam"))) / "checkpoints" / "ssp-sam-scenes"
FUSION_GAIN = 6.0


def build_model(
    arguments: ModelArguments, checkpoint: Path | None = None, adapters: AdapterArguments | None = None
) -> tuple[SspSamModel, SspSamProcessor]:
    """
    Loads or makes the model of a run, in float32, with its processor; from a checkpoint of the run, if there is one,
    rather than from what the arguments name. Adapters are put into it where their rank is not 0.
    """
    if adapters is not None and adapters.lora_rank and arguments.init_from is not None:
        model, processor = _load(find_model(arguments.init_from), arguments)
        adapt(model, adapters, checkpoint)
        return model, processor
    if checkpoint is not None:
        model, processor = _load(str(checkpoint / "model"), arguments)
    elif arguments.init_from is not None:
        model, processor = _load(find_model(arguments.init_from), arguments)
    elif arguments.init_from_towers is not None:
        model, processor = _build_around_towers(arguments)
    else:
        model, processor = _build_new(arguments)
    if arguments.no_target_threshold is not None:
        processor.no_target_threshold = arguments.no_target_threshold
    return model, processor


def find_model(init_from: str) -> str:
    """
    Returns the folder or Hub id of a model to start from, and pulls it where that is needed.

    Args:
        init_from: `"embedded"` for the model that comes with the package, or any name that `ssp-sam pull` takes.

    Raises:
        ValueError: There is no such model.
    """
    folder = EMBEDDED if init_from == "embedded" else Path(init_from)
    if init_from.strip() and os.path.isdir(folder):
        inside = [path.parent.name for path in sorted(folder.glob("*/config.json"))]
        hint = f"; there is one in {inside[0]}/" if inside else ""
        if (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
            merge = f"ssp-sam export merged --adapter {init_from} --merge"
            raise ValueError(f"init_from {init_from!r} holds low-rank adapters alone; for a model, run: {merge}")
        if not (folder / "config.json").is_file() and not list_folder(folder):
            raise ValueError(f"init_from {init_from!r} is a folder without a model (no config.json){hint}")
        return resolve_model(folder)
    try:
        return resolve_model(init_from)
    except ValueError as error:
        raise ValueError(f"there is no folder init_from {init_from!r} in {os.getcwd()!r}, and {error}") from error


def _load(source: str, arguments: ModelArguments) -> tuple[SspSamModel, SspSamProcessor]:
    # Loss weights and what is frozen may change between stages; sizes cannot.
    simple = {name: value for name, value in arguments.config_fields().items() if not isinstance(value, dict)}
    if arguments.attn_implementation is not None:
        simple["attn_implementation"] = arguments.attn_implementation
    try:
        model: Any = SspSamModel.from_pretrained(source, dtype=torch.float32, **simple)
        return model, SspSamProcessor.from_pretrained(source)
    except OSError as error:
        where = (
            "from its folder"
            if Path(source).is_dir()
            else f"from the Hub, and there is no such folder in {os.getcwd()!r}"
        )
        raise ValueError(f"cannot load the model {source!r} {where}: {str(error).splitlines()[0]}") from error


def _fields(arguments: ModelArguments) -> dict[str, Any]:
    """Returns the fields of the configuration: those of the preset, if any, under those of the arguments."""
    given = arguments.config_fields()
    return given if arguments.preset is None else preset_fields(arguments.preset, **given)


def _build_around_towers(arguments: ModelArguments) -> tuple[SspSamModel, SspSamProcessor]:
    fields, towers = _fields(arguments), dict(arguments.init_from_towers or {})
    sam_fields = fields.pop("sam_config", {})
    for name in ("vision_config", "text_config"):  # the towers say their own sizes
        fields.pop(name, None)
    for source in filter(None, (*towers.values(), arguments.tokenizer)):
        check_source(source)
    # Not a size but the paper's own epsilon of SAM's norms, which the towers' configurations lack.
    towers["sam"] = AutoModel.from_pretrained(towers["sam"], dtype=torch.float32)
    for name, value in sam_fields.get("mask_decoder_config", {}).items():
        setattr(towers["sam"].config.mask_decoder_config, name, value)
    model = SspSamModel.from_towers(**towers, **fields)
    if arguments.attn_implementation is not None:
        model.set_attn_implementation(arguments.attn_implementation)
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer or towers["text"])
    return model, SspSamProcessor.from_model_config(model.config, tokenizer)


def _build_new(arguments: ModelArguments) -> tuple[SspSamModel, SspSamProcessor]:
    fields = _fields(arguments)
    if arguments.tokenizer is not None:
        check_source(arguments.tokenizer)
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    else:
        tokenizer = build_word_tokenizer(VOCABULARY_WORDS)
        text_config = fields.setdefault("text_config", {})
        text_config |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config: Any = SspSamConfig(attn_implementation=arguments.attn_implementation, **fields)
    config.sam_config.vision_config.scale = arguments.positional_scale
    model = SspSamModel(config)
    if model.sam.vision_encoder.pos_embed is not None:
        init_positions(model.sam.vision_encoder.pos_embed)
    with torch.no_grad():
        # Fused patches are products of two small numbers, far below the positions that are added to them.
        model.fusion.projection.weight.mul_(FUSION_GAIN)
    return model, SspSamProcessor.from_model_config(config, tokenizer)


@torch.no_grad()
def init_positions(pos_embed: torch.Tensor):
    """
    Fills SAM's absolute positions (1, g, g, channels), zeros in a new model, with sines and cosines of row and column.

    Source: plain ViT baselines (arXiv 2205.01580), with periods from 2 pi to 200 pi patches.
    """
    side, channels = pos_embed.shape[1], pos_embed.shape[-1] // 4
    frequencies = 100.0 ** -(torch.arange(channels) / channels)
    angles = torch.arange(side)[:, None] * frequencies  # (g, channels / 4)
    code = torch.cat([angles.sin(), angles.cos()], dim=-1)
    rows, columns = code[:, None].expand(-1, side, -1), code[None].expand(side, -1, -1)
    pos_embed.copy_(0.5 * torch.cat([columns, rows], dim=-1)[None])
