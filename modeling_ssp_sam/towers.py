# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Builds a model from existing checkpoints of its towers: SAM, CLIP or SigLIP, and BERT or the text tower of these.

A tower is given as a hub id, a folder or a model. Its configuration and its weights are copied; a model handed over is
neither changed nor shared.
"""

import contextlib
import copy
import inspect
import os

from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel, SamHQModel, SamModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_MAPPING
from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection, CLIPVisionModelWithProjection
from transformers.models.siglip.modeling_siglip import SiglipTextModel, SiglipVisionModel
from transformers.utils import logging

from ..configuration.configuration_ssp_sam import SAM_TYPES, VISION_TYPES
from .sam_layers import quicken

logger = logging.get_logger(__name__)

TowerSource = str | os.PathLike | PreTrainedModel


def build_sam(sam_config) -> SamModel | SamHQModel:
    """Makes the segmenter that a configuration describes, with new weights."""
    sam = SamHQModel(sam_config) if sam_config.model_type == "sam_hq" else SamModel(sam_config)
    quicken(sam)
    return sam


def build_vision_tower(vision_config) -> PreTrainedModel | None:
    """Makes the semantic image tower that a configuration describes, if any, with new weights."""
    if vision_config is None:
        return None
    if vision_config.model_type == "siglip_vision_model":
        return SiglipVisionModel(vision_config)
    return CLIPVisionModelWithProjection(vision_config)


def build_text_tower(text_config) -> PreTrainedModel:
    """
    Makes the text tower that a configuration describes, with new weights and without a pooler, which nothing reads.

    Args:
        text_config (`PreTrainedConfig`): Of CLIP's or SigLIP's text tower, of BERT, or of any other encoder of words.

    Returns:
        `PreTrainedModel`
    """
    if text_config.model_type == "clip_text_model":
        return CLIPTextModelWithProjection(text_config)
    if text_config.model_type == "siglip_text_model":
        return SiglipTextModel(text_config)
    tower_class = MODEL_MAPPING.get(type(text_config), None)
    if tower_class is None:
        return AutoModel.from_config(text_config)
    tower_class = tower_class[0] if isinstance(tower_class, (list, tuple)) else tower_class
    if "add_pooling_layer" in inspect.signature(tower_class.__init__).parameters:
        return tower_class(text_config, add_pooling_layer=False)
    return tower_class(text_config)


def build_from_towers(
    model_class: type, sam: TowerSource, vision: TowerSource | None, text: TowerSource, **config_kwargs
) -> tuple[PreTrainedModel, list[str]]:
    """
    Builds a model around the weights of its towers, and logs which of its parameters none of them gave.

    Args:
        model_class (`type`): `SspSamModel`.
        sam, vision, text, config_kwargs: As in `SspSamModel.from_towers`.

    Returns:
        `tuple`: the model, in eval mode, and the names of its new parameters.

    Raises:
        ValueError: If a tower has another architecture, or two towers do not fit each other.
        TypeError: If a tower is neither a name, nor a folder, nor a model.
    """
    # 1. What each tower is.
    configs = {
        "sam_config": _read_config("sam", sam, SAM_TYPES),
        "vision_config": None if vision is None else _read_vision_config(vision),
        "text_config": _read_text_config(text),
    }
    given_twice = sorted(configs.keys() & config_kwargs.keys())
    if given_twice:
        raise ValueError(f"expected no {' or '.join(given_twice)}, which the tower itself gives")
    if not hasattr(configs["vision_config"], "projection_dim") and hasattr(configs["text_config"], "projection_dim"):
        # CLIP's text tower projects its sentences, and here no image tower does so with its patches.
        config_kwargs.setdefault("projection_dim", configs["text_config"].projection_dim)
    # 2. A model of these sizes.
    model = model_class(model_class.config_class(**configs, **config_kwargs))
    # 3. The towers' weights, one tower at a time.
    given = set()
    for name, source in {"sam": sam, "vision_model": vision, "text_model": text}.items():
        if source is not None:
            given |= {f"{name}.{key}" for key in _copy_weights(source, getattr(model, name))}
    new = [name for name, _ in model.named_parameters() if name not in given]
    logger.warning(_report(model, new))
    return model.eval(), new


def _describe(source: TowerSource) -> str:
    return f"a {type(source).__name__}" if isinstance(source, nn.Module) else repr(os.fspath(source))


def _read_config(role: str, source: TowerSource, model_types: tuple[str, ...] | None = None):
    """Reads a tower's configuration, and refuses one of another model type."""
    if isinstance(source, PreTrainedModel):
        config = copy.deepcopy(source.config)
    elif isinstance(source, (str, os.PathLike)):
        config = AutoConfig.from_pretrained(source)
    else:
        raise TypeError(
            f"expected {role} to be a hub id, a folder or a transformers model, got {type(source).__name__}"
        )
    if model_types is not None and config.model_type not in model_types:
        raise ValueError(
            f"expected {role} to have model type {' or '.join(map(repr, model_types))}, "
            f"got {config.model_type!r} from {_describe(source)}"
        )
    return config


def _read_vision_config(source: TowerSource):
    """Reads the configuration of a semantic image tower, from that tower or from all of CLIP or SigLIP."""
    config = _read_part("vision", source, ("clip", "siglip", *VISION_TYPES))
    if config.model_type == "siglip_vision_model":
        config.vision_use_head = False  # its pooled image, which nothing reads
    return config


def _read_text_config(source: TowerSource):
    """Reads the configuration of a text tower, and refuses what is no encoder of words."""
    config = _read_config("text", source)
    if config.model_type in ("clip", "siglip", "clip_text_model", "siglip_text_model"):
        return _read_part("text", source, (config.model_type,))
    if config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or config.is_encoder_decoder:
        raise ValueError(
            f"expected text to be CLIP, SigLIP or a BERT-like encoder, got model type {config.model_type!r} "
            f"from {_describe(source)}"
        )
    return config


def _read_part(role: str, source: TowerSource, model_types: tuple[str, ...]):
    """Reads the configuration of a tower of CLIP or SigLIP, from that tower or from the whole."""
    config = _read_config(role, source, model_types)
    if config.model_type == "clip":
        # All of CLIP projects to the size in its common configuration; a tower alone, to that in its own.
        projection_dim, config = config.projection_dim, getattr(config, f"{role}_config")
        config.projection_dim = projection_dim
    return getattr(config, f"{role}_config") if config.model_type == "siglip" else config


def _copy_weights(source: TowerSource, tower: PreTrainedModel) -> set[str]:
    """Copies a source's weights into a tower of the model; returns the names of those it had."""
    is_model = isinstance(source, PreTrainedModel)
    with _errors_alone():  # what a larger checkpoint has beside the tower is no news
        loaded, info = type(tower).from_pretrained(
            None if is_model else source,
            config=tower.config,
            state_dict=source.state_dict() if is_model else None,
            output_loading_info=True,
        )
    names = tower.state_dict().keys() - set(info["missing_keys"])
    tower.load_state_dict({name: value for name, value in loaded.state_dict().items() if name in names}, strict=False)
    return names


@contextlib.contextmanager
def _errors_alone():
    """Keeps transformers from logging anything but errors for a while."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _report(model: nn.Module, new: list[str]) -> str:
    """Names the new parameters, each module that is new as a whole by one name."""
    parts = []
    for child_name, child in model.named_children():
        names = [f"{child_name}.{name}" for name, _ in child.named_parameters()]
        new_here = [name for name in names if name in new]
        parts += [f"{child_name}.* ({len(names)})"] if len(new_here) == len(names) else new_here
    number = sum(parameter.numel() for name, parameter in model.named_parameters() if name in new)
    return f"{len(new)} parameters ({number:,} numbers) come from no tower and must be trained: {', '.join(parts)}"
