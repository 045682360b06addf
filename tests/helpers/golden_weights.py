# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Weights and inputs that anybody can make again from names and shapes: seeded by a name, scaled by its role.

The original code ran with exactly these tensors when the values in `fixtures/` were written down. Every value is exact
in float16, so that a half-precision copy of a checkpoint loses nothing.
"""

import functools
import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

# Name pattern -> (offset, scale). The first pattern found in the name decides.
FIXED_SCALES = (
    (r"^logit_scale$", 2.65625, 0.0),
    (r"^tf_scale$", 1.0, 0.1),
    (r"^tf_sigma$", 0.5, 0.05),
    (r"positional_encoding_gaussian_matrix$|^visual\.class_embedding$|^token_embedding\.weight$", 0.0, 1.0),
    (r"^positional_embedding$|^sam\.image_encoder\.pos_embed$|\.rel_pos_[hw]$", 0.0, 0.3),
    (r"^visual\.positional_embedding$|^(prompt_token|reg_token|vl_pos_embed)\.weight$", 0.0, 0.5),
    (r"^img2img_attn\.pos_[xy]$", 0.0, 0.5),
    (r"^sam\.prompt_encoder\.(point_embeddings\.\d+|not_a_point_embed|no_mask_embed)\.weight$", 0.0, 0.5),
    (r"^sam\.mask_decoder\.(iou_token|mask_tokens)\.weight$", 0.0, 0.5),
    # SigLIP's towers.
    (r"^text_model\.embeddings\.token_embedding\.weight$|^vision_model\.head\.probe$", 0.0, 1.0),
    (r"^text_model\.embeddings\.position_embedding\.weight$", 0.0, 0.3),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", 0.0, 0.5),
)

# Name pattern -> gain over 1 / sqrt(fan-in). Gains sharpen attentions, so that errors do not hide in flat softmaxes.
GAINS = (
    (r"^sam\.mask_decoder\.transformer\..*\.(q_proj|k_proj)\.weight$", 2.0),
    (r"^vl_transformer\..*in_proj_weight$|^img2text_attn\.in_proj_weight$", 1.5),
    (r"^text_proj\.weight_|^bbox_embed\.", 1.5),
    (r"^phrase_attn\.fc\.weight$", 4.0),
    (r"^mlp\.weight$", 6.0),
    (r"^clip_img_proj\.", 2.0),
)

# Multiplied from the right, or transposed convolutions: their inputs are counted on the first axis.
INPUTS_FIRST = r"^(visual\.proj|text_projection|sam\.mask_decoder\.output_upscaling\.[03]\.weight)$"


# At these entries (name and shape: flat indices) the machine of the original code, whose logarithms and cosines had
# seven right digits, rounded to the other neighbour in float16.
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ROUNDED_OTHERWISE = json.loads((FIXTURES / "golden_rounding.json").read_text("utf-8"))


def seeded(name: str, shape) -> torch.Tensor:
    """
    Standard normal numbers of a shape, seeded by a name, float32: those of `torch.randn`, on any processor.

    `torch.randn` takes the same steps, but its logarithms and cosines have other last digits on other processors.
    """
    generator, size = torch.Generator().manual_seed(zlib.crc32(name.encode())), math.prod(shape)
    if size < 16:
        return torch.randn(tuple(shape), generator=generator)
    normal, whole = np.empty(size), size // 16 * 16
    normal[:whole] = _normal(torch.rand(size, generator=generator)[:whole])
    if whole < size:  # the last sixteen are drawn again
        normal[-16:] = _normal(torch.rand(16, generator=generator))
    return torch.from_numpy(normal).float().reshape(tuple(shape))


def _normal(uniform: torch.Tensor) -> np.ndarray:
    """Box and Muller's transform of uniform numbers, eight radii and eight angles at a time."""
    radii, angles = uniform.double().numpy().reshape(-1, 2, 8).transpose(1, 0, 2)
    radii, angles = np.sqrt(-2 * np.log1p(-radii)), 2 * np.pi * angles
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).reshape(-1)


def make_weights(shapes: dict[str, list[int]], num_vision_layers: int) -> dict[str, torch.Tensor]:
    """Weights of the original's layout, before or after the surgery, or of OpenAI's CLIP: float32 by name."""
    return {name: _make_weight(_one_spelling(name, num_vision_layers), tuple(shapes[name])) for name in shapes}


def made_once(make: Callable[..., dict[str, torch.Tensor]]) -> Callable[..., dict[str, torch.Tensor]]:
    """Makes a function of tensors by name draw them at its first call alone; each call returns copies of its own."""
    made = functools.cache(make)

    @functools.wraps(make)
    def copies(*words) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in made(*words).items()}

    return copies


def _one_spelling(name: str, num_vision_layers: int) -> str:
    # One tensor has up to three names; all of them share a seed.
    name = name.removeprefix("encoder.")
    name = re.sub(r"^visual\.attn\.", f"visual.transformer.resblocks.{num_vision_layers - 6}.attn.", name)
    name = re.sub(r"^(visual\.transformer\..*\.attn)\.qkv\.", r"\1.in_proj_", name)
    return re.sub(r"^(visual\.transformer\..*\.attn)\.proj\.", r"\1.out_proj.", name)


def _make_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    fixed = next(((offset, scale) for pattern, offset, scale in FIXED_SCALES if re.search(pattern, name)), None)
    if fixed is not None:
        offset, scale = fixed
    elif len(shape) < 2:
        offset, scale = (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.02)
    else:
        inputs = shape[0] if re.search(INPUTS_FIRST, name) else math.prod(shape[1:])
        gain = next((gain for pattern, gain in GAINS if re.search(pattern, name)), 1.0)
        offset, scale = 0.0, gain / math.sqrt(inputs)
    exact = (offset + scale * seeded(name, shape)).numpy()
    rounded = exact.astype(np.float16)
    for index in ROUNDED_OTHERWISE.get(f"{name} {list(shape)}", ()):
        entry = rounded.reshape(-1)[index : index + 1]
        entry[:] = np.nextafter(entry, np.float16(math.copysign(math.inf, exact.reshape(-1)[index] - entry[0])))
    return torch.from_numpy(rounded.astype(np.float32))
