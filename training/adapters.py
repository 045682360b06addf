# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Low-rank adapters by peft, trained in place of the weights, saved alone, and merged into the weights again."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import cached_file

from ..modeling_ssp_sam.conversion.checkpoint_sources import HUB_ID, check_source
from .arguments import AdapterArguments

ADAPTER_CONFIG = "adapter_config.json"
IMAGE_ENCODERS = ("sam.vision_encoder.", "vision_model.")


def adapt(model: Any, arguments: AdapterArguments, checkpoint: Path | None = None):
    """
    Makes a loaded `SspSamModel`, with the weights that the adapters are for, one whose adapters are trained, those of a
    checkpoint if there is one; raises `ValueError` where no layer is called as `lora_targets` says.
    """
    if checkpoint is None:
        add_lora(model, arguments.lora_rank, arguments.lora_targets)
    else:
        model.load_adapter(str(checkpoint / "model"), is_trainable=True)
    lower_precision(model, getattr(torch, arguments.frozen_dtype))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def add_lora(model: Any, rank: int, targets: str | None = None):
    """
    Puts low-rank adapters into a model; from then on they alone are trained, and saved by `save_pretrained`.

    Args:
        model (`SspSamModel`): The model.
        rank (`int`): Their rank; the weight of what they add is 2, whatever the rank.
        targets (`str`, *optional*): A regular expression that the whole name of an adapted layer must match. Every
            linear layer outside the image encoders and outside what is frozen in the mask decoder when not given, so
            that cached features stay true.

    Raises:
        ValueError: If no layer has such a name.
    """
    from peft import LoraConfig

    left_out = (*IMAGE_ENCODERS, "sam.mask_decoder.iou_prediction_head.")
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets or [name for name in linear if not name.startswith(left_out)],
        # By these AutoPeftModel finds the class; it imports nothing but transformers.
        auto_mapping={"base_model_class": "AutoModel", "parent_library": "transformers"},
    )
    model.add_adapter(config)


def find_base(source: str | os.PathLike) -> str | None:
    """
    Returns the folder or Hub id of the model that an adapter is for; `None` where there is no adapter.

    Raises:
        ValueError: The Hub has nothing of this name, or cannot be reached.
    """
    options: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}
    if os.path.isfile(os.path.join(source, "config.json")):
        return None
    if not os.path.isdir(source) and not HUB_ID.fullmatch(os.fspath(source)):
        return None
    check_source(source)
    path = cached_file(os.fspath(source), ADAPTER_CONFIG, **options)
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)["base_model_name_or_path"]


def merge_adapter(model: Any, adapter: str | os.PathLike) -> Any:
    """
    Adds an adapter to the weights of a model, for good.

    Args:
        model (`SspSamModel`): The model that the adapter was trained for.
        adapter (`str` or `os.PathLike`): Its folder or Hub id.

    Returns:
        `SspSamModel`, in the dtype it had; the sums are made in float32.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If the adapter does not fit the model.
    """
    if find_spec("peft") is None:
        raise ImportError("adapters need peft; install it with: pip install 'ssp-sam[lora]'")
    from peft import PeftModel

    dtype = model.dtype
    try:
        merged = PeftModel.from_pretrained(model.float(), adapter).merge_and_unload()
    except RuntimeError as error:
        raise ValueError(f"the adapter {os.fspath(adapter)!r} does not fit this model: {error}") from error
    return merged.to(dtype)


def lower_precision(model: Any, dtype: torch.dtype):
    """Keeps the frozen towers of a model in `dtype`; their outputs come in the precision of the rest."""
    for name in ("sam.vision_encoder", "vision_model", "text_model"):
        if name in model.config.frozen_modules:
            model.get_submodule(name).to(dtype)
