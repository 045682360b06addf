# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
SAM's mask decoder, computed without what is thrown away.

transformers' module computes four masks and keeps one, repeats for every expression what its first layer makes of the
image alone, and takes all expressions through memory at once. Here only the tokens that are read pass the last
attention, an image is projected once, and a few expressions at a time go from prompts to mask. Weights and their names
stay, and linear layers are called as modules, so that adapters and quantised layers take part.

Shapes: B images, E expressions, P prompts, T tokens of SAM and prompts, N image patches, d prompt size.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamMaskDecoder

from .attention_functions import fill_blocks, half_attention_forward, learns_in_half_on_cpu

# Numbers of image patches and channels that go through the decoder at once: four MiB in float32.
GROUP_NUMBERS = 1 << 20


def can_read(decoder: nn.Module, images: torch.Tensor) -> bool:
    """Whether `read_masks` stands in for a decoder: for SAM's own, outside of exported graphs."""
    elsewhere = images.is_meta or any(weight.is_meta for weight in decoder.parameters())  # that hooks fetch by layer
    exports = torch.compiler.is_exporting() or torch.jit.is_tracing()
    return type(decoder) is SamMaskDecoder and not (elsewhere or exports)


def read_masks(
    decoder: SamMaskDecoder,
    images: torch.Tensor,
    positions: torch.Tensor,
    prompts: torch.Tensor,
    image_index: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Args:
        decoder (`SamMaskDecoder`): SAM's mask decoder.
        images (`torch.Tensor` of shape `(B, d, height, width)`): Images, SAM's dense prompt included.
        positions (`torch.Tensor` of shape `(1, d, height, width)`): Encoded positions of the patches.
        prompts (`torch.Tensor` of shape `(E, P, d)`): Prompts.
        image_index (`torch.LongTensor` of shape `(E,)`, *optional*): The image of each expression; one each if `None`.

    Returns:
        `tuple`: mask logits `(E, 1, 4 * height, 4 * width)` and IoU estimates `(E, 1)`, those of SAM's first mask.
    """
    grid = images.shape[-2:]
    images, positions = (maps.flatten(2).transpose(1, 2).contiguous() for maps in (images, positions))  # (B, N, d)
    # What the first layer takes from the image.
    first, placed = decoder.transformer.layers[0], images + positions
    projected = (
        first.cross_attn_token_to_image.k_proj(placed),
        first.cross_attn_token_to_image.v_proj(images),
        first.cross_attn_image_to_token.q_proj(placed),
    )
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.to(prompts.dtype).expand(len(prompts), -1, -1), prompts], dim=1)  # (E, T, d)
    size = len(tokens)
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():  # a loop would be compiled for each number
        size = max(1, GROUP_NUMBERS // images[0].numel())
    groups = tokens.split(size)
    if len(groups) > 1 and image_index is not None and torch.equal(image_index, torch.arange(len(images))):
        image_index = None
    of_images = (images, *projected)
    if len(images) == 1:
        of_groups = [of_images] * len(groups)
    elif image_index is None:  # the gradient of all parts is put together once
        of_groups = zip(*(states.split(size) for states in of_images))
    else:
        of_groups = ([states[index] for states in of_images] for index in image_index.split(size))
    read = [_read_group(decoder, group, positions, grid, *parts) for group, parts in zip(groups, of_groups)]
    masks, iou_scores = (torch.cat(parts) for parts in zip(*read))
    unread = [weight for weight in decoder.output_hypernetworks_mlps[1:].parameters() if weight.requires_grad]
    if unread and torch.is_grad_enabled():
        masks = masks + 0 * sum(weight.sum() for weight in unread)  # their gradients are 0, as in SAM, and not missing
    return masks, iou_scores


def _read_group(decoder, tokens, positions, grid, patches, keys, values, patch_queries):
    """Reads the masks of some expressions, whose images are one, or one each; the last four come from the images."""
    queries = tokens
    for number, layer in enumerate(decoder.transformer.layers):
        to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        if number > 0:
            placed = patches + positions
            keys, values, patch_queries = to_image.k_proj(placed), to_image.v_proj(patches), to_tokens.q_proj(placed)
        # 1. Tokens among themselves.
        states = queries if layer.skip_first_layer_pe else queries + tokens
        attended = _project_and_attend(layer.self_attn, states, states, queries)
        queries = layer.layer_norm1(attended if layer.skip_first_layer_pe else queries + attended)
        # 2. Tokens to the image.
        queries = layer.layer_norm2(queries + _attend(to_image, to_image.q_proj(queries + tokens), keys, values))
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        # 3. The image to tokens.
        from_tokens = to_tokens.k_proj(queries + tokens), to_tokens.v_proj(queries)
        patches = layer.layer_norm4(patches + _attend(to_tokens, patch_queries, *from_tokens))
    # 4. The tokens of the estimate and of the first mask, to the image.
    last, queries = decoder.transformer.final_attn_token_to_image, queries[:, :2]
    attend = _attend_from_few if _is_plain(last.k_proj, last.v_proj) else _project_and_attend
    attended = attend(last, queries + tokens[:, :2], patches + positions, patches)
    queries = decoder.transformer.layer_norm_final_attn(queries + attended)
    # 5. The mask, its pixels by patch, by half and by quarter of a patch.
    maps = _upscale(decoder.upscale_conv1, patches)
    maps = decoder.activation(decoder.upscale_layer_norm(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    maps = decoder.activation(_upscale(decoder.upscale_conv2, maps)).flatten(1, 3)
    weights = decoder.output_hypernetworks_mlps[0](queries[:, 1])
    masks = torch.matmul(maps, weights.unsqueeze(-1)).view(-1, *grid, 2, 2, 2, 2)
    masks = masks.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 1, 4 * grid[0], 4 * grid[1])
    return masks, decoder.iou_prediction_head(queries[:, 0])[:, :1]


def _upscale(convolution: nn.ConvTranspose2d, states: torch.Tensor) -> torch.Tensor:
    """Gives every pixel `(..., d)` the four pixels `(..., 4, channels)` of a transposed convolution of two by two."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(states, weight, convolution.bias.repeat(4)).unflatten(-1, (4, -1))


def _is_plain(*layers: nn.Module) -> bool:
    """Whether linear layers are their weights alone: not adapted, quantised or watched."""
    watched = any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    return not watched and all(type(layer) is nn.Linear and type(layer.weight) is nn.Parameter for layer in layers)


def _project_and_attend(attention, query, key, value) -> torch.Tensor:
    return _attend(attention, attention.q_proj(query), attention.k_proj(key), attention.v_proj(value))


def _attend_from_few(attention, query, key, value) -> torch.Tensor:
    """
    Attends from a few `(E, Q, d)` to many `(E, N, d)` without projecting the many.

    Queries go to the channels of the keys instead, and what they gather goes to those of the values.
    """
    heads = attention.num_attention_heads
    query = attention.q_proj(query).unflatten(-1, (heads, -1)).transpose(1, 2) * attention.scaling  # (E, heads, Q, .)
    key_weight, value_weight = (
        layer.weight.unflatten(0, (heads, -1)) for layer in (attention.k_proj, attention.v_proj)
    )
    key_bias, value_bias = (layer.bias.view(heads, 1, -1) for layer in (attention.k_proj, attention.v_proj))
    added = (query * key_bias).sum(-1).flatten(1).unsqueeze(1)  # the same for all keys
    query = torch.matmul(query, key_weight).flatten(1, 2)  # (E, heads * Q, d)
    weights = torch.baddbmm(added, key, query.transpose(1, 2)).softmax(dim=1)  # (E, N, heads * Q)
    gathered = torch.matmul(weights.transpose(1, 2), value).unflatten(1, (heads, -1))  # (E, heads, Q, d)
    attended = torch.matmul(gathered, value_weight.transpose(1, 2)) + value_bias
    return attention.out_proj(attended.transpose(1, 2).flatten(2))


def _attend(attention, query, key, value) -> torch.Tensor:
    """Attends from projected queries `(E or 1, ., d)` to projected keys and values `(E or 1, ., d)`."""
    if len(key) == 1 < len(query):  # all of one image: their queries stand in one row
        attended = _attend(attention, query.flatten(0, 1).unsqueeze(0), key, value)
        return attended.view(*query.shape[:2], -1)
    if len(query) == 1 < len(key):
        query = query.expand(len(key), -1, -1)
    query, key, value = (
        states.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2) for states in (query, key, value)
    )
    key, value, mask = fill_blocks(key, value)
    if learns_in_half_on_cpu(query, key):
        attended, _ = half_attention_forward(attention, query, key, value, mask, attention.scaling)
        return attention.out_proj(attended.flatten(2))
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attention.scaling)
    return attention.out_proj(attended.transpose(1, 2).flatten(2))
