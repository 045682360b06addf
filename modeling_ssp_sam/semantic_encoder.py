# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the two language-aware towers say: patch features, word states, a sentence vector, and how they agree.

Shapes: B images or expressions, N = g * g patches, C projection channels, L words.
"""

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.output_capturing import capture_outputs

from .attention_functions import fill_blocks


@capture_outputs(tie_last_hidden_states=False)
def encode_image_with_surgery(
    vision_model: nn.Module, pixel_values: torch.Tensor, num_surgery_layers: int, **kwargs
) -> BaseModelOutput:
    """
    Runs CLIP's vision tower with a second, value-value stream beside its last blocks.

    The ordinary stream is CLIP's own. The second one starts as the input of the first surgery block and only ever adds
    `out_proj(softmax(v v^T / sqrt(head_dim)) v)`; it has no feed-forward part. The class token is read from the
    ordinary stream, the patches from the second.

    Args:
        vision_model (`CLIPVisionModelWithProjection`): The tower.
        pixel_values (`torch.Tensor` of shape `(B, 3, s, s)`): Images on the semantic canvas.
        num_surgery_layers (`int`): How many of the last blocks carry the second stream; 0 is ordinary CLIP.
        kwargs: `output_hidden_states` and `output_attentions`, both of the ordinary stream.

    Returns:
        `BaseModelOutput`: `last_hidden_state` of shape `(B, 1 + N, hidden)` are the tokens after the final norm, class
        token first, not yet projected.

    Source: SSP-SAM (arXiv 2603.18086), after CLIP Surgery (arXiv 2304.05653).
    """
    tower = vision_model.vision_model
    layers = tower.encoder.layers
    hidden_states = tower.pre_layrnorm(tower.embeddings(pixel_values))
    first_surgery_layer = len(layers) - num_surgery_layers
    value_states = hidden_states
    quick = _runs_quickly(tower)
    for index, layer in enumerate(layers):
        if index == first_surgery_layer:
            value_states = hidden_states
        if index < first_surgery_layer:
            hidden_states = layer(hidden_states, None)
        elif quick:
            num_read = 1 if layer is layers[-1] else None
            hidden_states, value_states = surgery_layer(layer, hidden_states, value_states, num_read)
        else:
            value_states = value_states + value_value_attention(layer.self_attn, layer.layer_norm1(hidden_states))
            hidden_states = layer(hidden_states, None)
    patch_states = value_states if num_surgery_layers > 0 else hidden_states
    tokens = torch.cat([hidden_states[:, :1], patch_states[:, 1:]], dim=1)
    return BaseModelOutput(last_hidden_state=tower.post_layernorm(tokens))


def _runs_quickly(tower: nn.Module) -> bool:
    """Whether nobody needs what single layers return: no hook waits for it, and nothing in them is trained."""
    modules = [module for layer in tower.encoder.layers for module in (layer, layer.self_attn)]
    watched = any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in tower.parameters())
    return tower.config._attn_implementation == "sdpa" and not (watched or trained)


def surgery_layer(
    layer: nn.Module, hidden_states: torch.Tensor, value_states: torch.Tensor, num_read: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Takes both streams through a block; they share its norm and its values.

    Args:
        layer (`CLIPEncoderLayer`): The block.
        hidden_states, value_states (`torch.Tensor` of shape `(B, 1 + N, hidden)`): The ordinary and the second stream.
        num_read (`int`, *optional*): How many of the first tokens are read of the ordinary stream; all if `None`.

    Returns:
        `tuple`: both streams, the ordinary one of shape `(B, 1 + N or num_read, hidden)`.
    """
    attention = layer.self_attn
    normed = layer.layer_norm1(hidden_states)
    values = _heads(attention, attention.v_proj(normed))
    queries = _heads(attention, attention.q_proj(normed[:, :num_read]))
    keys = _heads(attention, attention.k_proj(normed))
    value_states = value_states + _attended(attention, values, values, values)
    hidden_states = hidden_states[:, :num_read] + _attended(attention, queries, keys, values)
    return hidden_states + layer.mlp(layer.layer_norm2(hidden_states)), value_states


def value_value_attention(attention: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    Lets every token attend to the tokens whose *values* resemble its own, which keeps attention on one object.

    Args:
        attention (`CLIPAttention`): The block's attention; only its value and output projections are used.
        hidden_states (`torch.Tensor` of shape `(B, 1 + N, hidden)`): The block's normalised input.

    Returns:
        `torch.Tensor` of shape `(B, 1 + N, hidden)`.
    """
    values = _heads(attention, attention.v_proj(hidden_states))
    return _attended(attention, values, values, values)


def _heads(attention: nn.Module, states: torch.Tensor) -> torch.Tensor:
    return states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _attended(attention: nn.Module, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    keys, values, mask = fill_blocks(keys, values)
    attended = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=attention.scale)
    return attention.out_proj(attended.transpose(1, 2).flatten(2))


class SspSamPooledPatches(nn.Module):
    """Stands in for a semantic tower: SAM's own image embeddings, pooled to the semantic grid and projected."""

    def __init__(self, *, image_channels: int, projection_dim: int, grid_size: int):
        super().__init__()
        self.grid_size = grid_size
        self.projection = nn.Linear(image_channels, projection_dim)

    def forward(self, image_embeddings: torch.Tensor) -> torch.Tensor:
        """Turns `(B, channels, height, width)` image embeddings into `(B, N, C)` patch features."""
        side = image_embeddings.shape[-1]
        if side % self.grid_size == 0:  # the same numbers as adaptive pooling, and exportable
            pooled = nn.functional.avg_pool2d(image_embeddings, side // self.grid_size)
        else:
            pooled = nn.functional.adaptive_avg_pool2d(image_embeddings, self.grid_size)
        return self.projection(pooled.flatten(2).transpose(1, 2))  # (B, N, C)


def normalise_over_tokens(features: torch.Tensor) -> torch.Tensor:
    """
    Divides every channel by its norm over the *tokens*, the class token included where there is one.

    The original normalises over this axis, not over channels, and its weights depend on it.

    Args:
        features (`torch.Tensor` of shape `(B, tokens, C)`).

    Returns:
        `torch.Tensor` of the same shape and dtype.
    """
    return nn.functional.normalize(features.float(), dim=1).to(features.dtype)


class SspSamSentenceProjection(nn.Module):
    """Maps what a text tower says of the sentence to the channels in which patches are compared with it."""

    def __init__(self, *, text_size: int, projection_dim: int):
        super().__init__()
        self.projection = nn.Linear(text_size, projection_dim)

    def forward(self, sentence: torch.Tensor) -> torch.Tensor:
        """Turns `(B, text size)` states into `(B, C)` sentence vectors, not yet normalised."""
        return self.projection(sentence)


def read_clip_sentence(text_model: nn.Module, word_states: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """
    Reads CLIP's sentence vector at the end-of-text token, the largest id of each row.

    Args:
        text_model (`CLIPTextModelWithProjection`): The tower, for its projection.
        word_states (`torch.Tensor` of shape `(B, L, text size)`): States after the final norm.
        input_ids (`torch.LongTensor` of shape `(B, L)`).

    Returns:
        `torch.Tensor` of shape `(B, C)`, not yet normalised.
    """
    rows = torch.arange(input_ids.shape[0], device=input_ids.device)
    return text_model.text_projection(word_states[rows, input_ids.to(torch.int).argmax(dim=-1)])


def similarity_map(patch_features: torch.Tensor, sentence: torch.Tensor) -> torch.Tensor:
    """
    Scores every patch against the sentence and stretches the scores of one expression to [0, 1].

    Args:
        patch_features (`torch.Tensor` of shape `(B, N, C)`): Patches, normalised over tokens.
        sentence (`torch.Tensor` of shape `(B, C)`): Sentence vectors of unit length.

    Returns:
        `torch.Tensor` of shape `(B, N)`. A constant map becomes all zeros instead of dividing by zero.

    Source: SSP-SAM (arXiv 2603.18086), visual attention adapter.
    """
    scores = torch.matmul(patch_features, sentence.unsqueeze(-1)).squeeze(-1)  # (B, N)
    low = scores.amin(dim=-1, keepdim=True)
    spread = scores.amax(dim=-1, keepdim=True) - low
    return (scores - low) / spread.clamp_min(torch.finfo(scores.dtype).tiny)
