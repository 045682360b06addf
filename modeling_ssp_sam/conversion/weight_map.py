# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The weight map: every name of the original's checkpoints, of OpenAI's CLIP and of Meta's SAM, and its name here.

A rule reads "a tensor whose whole name matches `original` is stored as `ours`". `None` drops it on purpose, with the
reason beside it. `{q,k,v}` stands for three tensors, the equal row blocks of one. A name that no rule matches is an
error, and so is a name of ours that no tensor fills.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import torch

from .checkpoint_files import CheckpointError


class Rule(NamedTuple):
    """One line of the weight map.

    Args:
        original (`str`): Regular expression that must match the whole name.
        ours (`str`, *optional*): Its replacement; `None` drops the tensor.
        transposed (`bool`, defaults to `False`): Whether the original multiplies from the right.
    """

    original: str
    ours: str | None
    transposed: bool = False


def _clip_blocks(original: str, ours: str) -> tuple[Rule, ...]:
    # After the surgery the attention of the last vision blocks is called `qkv` and `proj`.
    return (
        Rule(rf"{original}\.(\d+)\.attn\.(?:in_proj_|qkv\.)(weight|bias)", rf"{ours}.\1.self_attn.{{q,k,v}}_proj.\2"),
        Rule(rf"{original}\.(\d+)\.attn\.(?:out_proj|proj)\.(weight|bias)", rf"{ours}.\1.self_attn.out_proj.\2"),
        Rule(rf"{original}\.(\d+)\.ln_([12])\.(weight|bias)", rf"{ours}.\1.layer_norm\2.\3"),
        Rule(rf"{original}\.(\d+)\.mlp\.c_fc\.(weight|bias)", rf"{ours}.\1.mlp.fc1.\2"),
        Rule(rf"{original}\.(\d+)\.mlp\.c_proj\.(weight|bias)", rf"{ours}.\1.mlp.fc2.\2"),
    )


CLIP_RULES = (
    Rule(r"visual\.class_embedding", r"vision_model.vision_model.embeddings.class_embedding"),
    Rule(r"visual\.conv1\.weight", r"vision_model.vision_model.embeddings.patch_embedding.weight"),
    Rule(r"visual\.positional_embedding", r"vision_model.vision_model.embeddings.position_embedding.weight"),
    Rule(r"visual\.ln_pre\.(weight|bias)", r"vision_model.vision_model.pre_layrnorm.\1"),
    *_clip_blocks(r"visual\.transformer\.resblocks", r"vision_model.vision_model.encoder.layers"),
    Rule(r"visual\.ln_post\.(weight|bias)", r"vision_model.vision_model.post_layernorm.\1"),
    Rule(r"visual\.proj", r"vision_model.visual_projection.weight", transposed=True),
    Rule(r"token_embedding\.weight", r"text_model.text_model.embeddings.token_embedding.weight"),
    Rule(r"positional_embedding", r"text_model.text_model.embeddings.position_embedding.weight"),
    *_clip_blocks(r"transformer\.resblocks", r"text_model.text_model.encoder.layers"),
    Rule(r"ln_final\.(weight|bias)", r"text_model.text_model.final_layer_norm.\1"),
    Rule(r"text_projection", r"text_model.text_projection.weight", transposed=True),
    # Read by CLIP's contrastive loss alone.
    Rule(r"logit_scale", None),
    # Aliases of the first exchanged attention, which its block holds too.
    Rule(r"visual\.attn\.(?:qkv|proj)\.(?:weight|bias)", None),
    # Numbers that OpenAI's archives carry as tensors.
    Rule(r"input_resolution|context_length|vocab_size", None),
)

# transformers' own SiglipModel, which the original's variant on SigLIP 2 holds as it is.
SIGLIP_RULES = (
    # The image tower's pooled image, which nothing reads.
    Rule(r"vision_model\.head\..+", None),
    # The numbers from 0 on, which files of older versions carry.
    Rule(r"(?:vision|text)_model\.embeddings\.position_ids", None),
    Rule(r"(vision|text)_model\.(.+)", r"\1_model.\2"),
    # Read by SigLIP's contrastive loss alone.
    Rule(r"logit_(?:scale|bias)", None),
)

_SAM_HEAD = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)"

SAM_RULES = (
    Rule(r"image_encoder\.pos_embed", r"sam.vision_encoder.pos_embed"),
    Rule(r"image_encoder\.patch_embed\.proj\.(weight|bias)", r"sam.vision_encoder.patch_embed.projection.\1"),
    Rule(r"image_encoder\.blocks\.(\d+)\.norm([12])\.(weight|bias)", r"sam.vision_encoder.layers.\1.layer_norm\2.\3"),
    Rule(r"image_encoder\.blocks\.(\d+)\.(attn|mlp)\.(.+)", r"sam.vision_encoder.layers.\1.\2.\3"),
    Rule(r"image_encoder\.neck\.0\.weight", r"sam.vision_encoder.neck.conv1.weight"),
    Rule(r"image_encoder\.neck\.1\.(weight|bias)", r"sam.vision_encoder.neck.layer_norm1.\1"),
    Rule(r"image_encoder\.neck\.2\.weight", r"sam.vision_encoder.neck.conv2.weight"),
    Rule(r"image_encoder\.neck\.3\.(weight|bias)", r"sam.vision_encoder.neck.layer_norm2.\1"),
    # Tied: the prompt encoder reads the same matrix.
    Rule(
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        r"sam.shared_image_embedding.positional_embedding",
    ),
    Rule(r"prompt_encoder\.point_embeddings\.(\d+)\.weight", r"sam.prompt_encoder.point_embed.\1.weight"),
    Rule(r"prompt_encoder\.(not_a_point_embed|no_mask_embed)\.weight", r"sam.prompt_encoder.\1.weight"),
    Rule(r"prompt_encoder\.mask_downscaling\.0\.(weight|bias)", r"sam.prompt_encoder.mask_embed.conv1.\1"),
    Rule(r"prompt_encoder\.mask_downscaling\.1\.(weight|bias)", r"sam.prompt_encoder.mask_embed.layer_norm1.\1"),
    Rule(r"prompt_encoder\.mask_downscaling\.3\.(weight|bias)", r"sam.prompt_encoder.mask_embed.conv2.\1"),
    Rule(r"prompt_encoder\.mask_downscaling\.4\.(weight|bias)", r"sam.prompt_encoder.mask_embed.layer_norm2.\1"),
    Rule(r"prompt_encoder\.mask_downscaling\.6\.(weight|bias)", r"sam.prompt_encoder.mask_embed.conv3.\1"),
    Rule(r"mask_decoder\.(iou_token|mask_tokens)\.weight", r"sam.mask_decoder.\1.weight"),
    Rule(r"mask_decoder\.transformer\.(.+)\.norm([1-4])\.(.+)", r"sam.mask_decoder.transformer.\1.layer_norm\2.\3"),
    Rule(r"mask_decoder\.transformer\.norm_final_attn\.(.+)", r"sam.mask_decoder.transformer.layer_norm_final_attn.\1"),
    Rule(r"mask_decoder\.transformer\.(.+(?:attn.*|mlp)\..+)", r"sam.mask_decoder.transformer.\1"),
    Rule(r"mask_decoder\.output_upscaling\.0\.(weight|bias)", r"sam.mask_decoder.upscale_conv1.\1"),
    Rule(r"mask_decoder\.output_upscaling\.1\.(weight|bias)", r"sam.mask_decoder.upscale_layer_norm.\1"),
    Rule(r"mask_decoder\.output_upscaling\.3\.(weight|bias)", r"sam.mask_decoder.upscale_conv2.\1"),
    Rule(rf"mask_decoder\.{_SAM_HEAD}\.layers\.0\.(weight|bias)", r"sam.mask_decoder.\1.proj_in.\2"),
    Rule(rf"mask_decoder\.{_SAM_HEAD}\.layers\.1\.(weight|bias)", r"sam.mask_decoder.\1.layers.0.\2"),
    Rule(rf"mask_decoder\.{_SAM_HEAD}\.layers\.2\.(weight|bias)", r"sam.mask_decoder.\1.proj_out.\2"),
)

ADAPTER_RULES = (
    Rule(r"clip_proj\.(weight|bias)", r"word_projection.\1"),
    # The variant on SigLIP alone: CLIP's towers project themselves.
    Rule(r"patch_proj\.(weight|bias)", r"patch_projection.\1"),
    Rule(r"sent_proj\.(weight|bias)", r"sentence_projection.projection.\1"),
    Rule(r"text_proj\.((?:weight|bias)_[ih]h_l0)", r"linguistic_adapter.forward_gru.\1"),
    Rule(r"text_proj\.((?:weight|bias)_[ih]h_l0)_reverse", r"linguistic_adapter.backward_gru.\1"),
    Rule(r"phrase_attn\.fc\.(weight|bias)", r"linguistic_adapter.word_score.\1"),
    Rule(r"clip_img_proj\.(.+)", r"visual_adapter.\1"),
    Rule(r"tf_scale", r"verification.scale"),
    Rule(r"tf_sigma", r"verification.sigma"),
    Rule(r"img2text_attn\.in_proj_(weight|bias)", r"verification.word_attention.{q,k,v}_proj.\1"),
    Rule(r"img2text_attn\.out_proj\.(weight|bias)", r"verification.word_attention.out_proj.\1"),
    Rule(r"img_proj\.layers\.0\.(weight|bias)", r"verification.image_projection.\1"),
    Rule(r"imgtext_proj\.layers\.0\.(weight|bias)", r"verification.text_projection.\1"),
    Rule(r"norm_img\.(weight|bias)", r"fusion.patch_norm.\1"),
    Rule(r"mlp\.(weight|bias)", r"fusion.projection.\1"),
    Rule(r"reg_token\.weight", r"prompt_generator.reg_token.weight"),
    Rule(r"prompt_token\.weight", r"prompt_generator.prompt_tokens.weight"),
    Rule(r"vl_pos_embed\.weight", r"prompt_generator.positions.weight"),
    # The encoder form has two norms per layer, the decoder form a third one and the attention to the patches.
    Rule(r"vl_transformer\.encoder\.layers\.(\d+)\.norm2\.(.+)", r"prompt_generator.layers.\1.mlp_norm.\2"),
    Rule(r"vl_transformer\.layers\.(\d+)\.norm2\.(.+)", r"prompt_generator.layers.\1.memory_attn_norm.\2"),
    Rule(r"vl_transformer\.layers\.(\d+)\.norm3\.(.+)", r"prompt_generator.layers.\1.mlp_norm.\2"),
    Rule(
        r"vl_transformer\.layers\.(\d+)\.multihead_attn\.in_proj_(weight|bias)",
        r"prompt_generator.layers.\1.memory_attn.{q,k,v}_proj.\2",
    ),
    Rule(
        r"vl_transformer\.layers\.(\d+)\.multihead_attn\.out_proj\.(.+)",
        r"prompt_generator.layers.\1.memory_attn.out_proj.\2",
    ),
    Rule(
        r"vl_transformer\.(?:encoder\.)?layers\.(\d+)\.self_attn\.in_proj_(weight|bias)",
        r"prompt_generator.layers.\1.self_attn.{q,k,v}_proj.\2",
    ),
    Rule(
        r"vl_transformer\.(?:encoder\.)?layers\.(\d+)\.self_attn\.out_proj\.(.+)",
        r"prompt_generator.layers.\1.self_attn.out_proj.\2",
    ),
    Rule(r"vl_transformer\.(?:encoder\.)?layers\.(\d+)\.norm1\.(.+)", r"prompt_generator.layers.\1.self_attn_norm.\2"),
    Rule(r"vl_transformer\.(?:encoder\.)?layers\.(\d+)\.linear1\.(.+)", r"prompt_generator.layers.\1.mlp.layers.0.\2"),
    Rule(r"vl_transformer\.(?:encoder\.)?layers\.(\d+)\.linear2\.(.+)", r"prompt_generator.layers.\1.mlp.layers.1.\2"),
    Rule(r"norm\.(weight|bias)", r"prompt_generator.norm.\1"),
    Rule(r"bbox_embed\.(.+)", r"box_head.\1"),
    # Built by the original, never read by its forward.
    Rule(r"img2img_attn\..+", None),
    Rule(r"norm_text_cond_img\..+", None),
)


def prefixed(prefix: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Returns the rules for a module that stands under `prefix`, a regular expression such as `sam\\.`."""
    return tuple(rule._replace(original=f"{prefix}(?:{rule.original})") for rule in rules)


ORIGINAL_RULES = ADAPTER_RULES + prefixed(r"encoder\.", CLIP_RULES + SIGLIP_RULES) + prefixed(r"sam\.", SAM_RULES)

# transformers' own CLIPModel and SamModel, which need no more than their place in the whole.
HF_CLIP_RULES = (
    # The numbers from 0 on, which files of OpenAI's repositories carry.
    Rule(r"(?:vision|text)_model\.embeddings\.position_ids", None),
    Rule(r"(vision|text)_model\.(.+)", r"\1_model.\1_model.\2"),
    Rule(r"visual_projection\.weight", r"vision_model.visual_projection.weight"),
    Rule(r"text_projection\.weight", r"text_model.text_projection.weight"),
    Rule(r"logit_scale", None),
)
HF_SAM_RULES = (
    # Tied to the matrix of `shared_image_embedding`; a file holds one of the two or both.
    Rule(r"prompt_encoder\.shared_embedding\.positional_embedding", r"sam.shared_image_embedding.positional_embedding"),
    Rule(r"(.+)", r"sam.\1"),
)


def rename_weights(weights: Mapping[str, torch.Tensor], rules: Iterable[Rule], source: str) -> dict[str, torch.Tensor]:
    """
    Gives tensors the names of this model; nothing is copied, splits and transposes are views.

    Args:
        weights (`Mapping[str, torch.Tensor]`): Tensors by their original names.
        rules (`Iterable[Rule]`): The weight map; the first rule that matches a name decides.
        source (`str`): What to call the file in messages.

    Returns:
        `dict[str, torch.Tensor]`: Tensors by the names of [`SspSamModel`].

    Raises:
        CheckpointError: If no rule knows a name, a tensor cannot be split, or two names of one tensor differ.
    """
    rules = tuple(rules)
    renamed: dict[str, torch.Tensor] = {}
    origins: dict[str, str] = {}
    unknown = []
    for name, tensor in weights.items():
        found = _find_rule(name, rules)
        if found is None:
            unknown.append(f"{name} {tuple(tensor.shape)}")
            continue
        names, transposed = found
        if (transposed and tensor.ndim != 2) or (len(names) > 1 and (tensor.ndim == 0 or len(tensor) % len(names))):
            raise CheckpointError(f"{source}: {name} has the shape {tuple(tensor.shape)}, which no model has there")
        tensor = tensor.t() if transposed else tensor
        for ours, part in zip(names, tensor.chunk(len(names)) if len(names) > 1 else [tensor]):
            if ours in renamed and not torch.equal(renamed[ours], part):
                raise CheckpointError(
                    f"{source}: {origins[ours]} and {name} are two names of one tensor ({ours}), but differ"
                )
            renamed[ours], origins[ours] = part, name
    if unknown:
        raise CheckpointError(
            f"{source}: {len(unknown)} of {len(weights)} names are not of this layout: {shortened(unknown)}"
        )
    return renamed


def original_names(names: Iterable[str], rules: Iterable[Rule]) -> dict[str, str]:
    """Returns the original name of every tensor of this model that a file with such names fills."""
    rules = tuple(rules)
    return {ours: name for name in names for ours in (_find_rule(name, rules) or ((), False))[0]}


@cache
def _find_rule(name: str, rules: tuple[Rule, ...]) -> tuple[list[str], bool] | None:
    # What a tensor is called here, nothing if it is dropped, and whether it is transposed; None if no rule knows it.
    for rule in rules:
        match = re.fullmatch(rule.original, name)
        if match is None:
            continue
        ours = [] if rule.ours is None else [match.expand(rule.ours)]
        choices = re.search(r"\{(.+)\}", ours[0]) if ours else None  # "{q,k,v}": equal row blocks of one tensor
        if choices is not None:
            ours = [ours[0].replace(choices[0], choice) for choice in choices[1].split(",")]
        return ours, rule.transposed
    return None


def shortened(entries: list[str], limit: int = 8) -> str:
    """Joins a list for a message, and says how many entries were left out."""
    more = f" and {len(entries) - limit} more" if len(entries) > limit else ""
    return ", ".join(entries[:limit]) + more
