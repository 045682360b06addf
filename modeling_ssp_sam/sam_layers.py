# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
The layers of SAM's image encoder, computed without their large intermediate results.

To every product of query and key SAM adds two terms, one for the query and the row of the key, one for its column.
transformers' modules first write them out for all pairs: 768 MiB in a layer of ViT-B that sees the whole canvas. Here
they are either part of the product itself or added to a few rows at a time, and windows are cut after the projections,
so that what only fills up a window is not projected. Training does the same without such terms, and in half precision
on a CPU, where attention is spelled out for the sake of its gradients. Weights and their names stay.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionLayer
from transformers.models.sam_hq.modeling_sam_hq import SamHQVisionLayer

from .attention_functions import attend_in_parts, learns_in_half_on_cpu

# Attention weights that are computed at once: two MiB in float32, which a processor's second cache holds.
BLOCK = 1 << 19


def quicken(sam: nn.Module):
    """Lets the image encoder of a `SamModel` or `SamHQModel` compute its layers as this file does."""
    for layer in sam.vision_encoder.layers:
        # The layer keeps its parameters, their names and their initial values; `forward` alone is another.
        layer.__class__ = SspSamHQVisionLayer if isinstance(layer, SamHQVisionLayer) else SspSamVisionLayer


class _QuickLayer:
    """`forward` of both classes below, which is that of transformers wherever more than the result is wanted."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden_states: Patches, shape `(batch_size, height, width, hidden_size)`.

        Returns:
            `torch.Tensor`: New patches of that shape.
        """
        learns = hidden_states.requires_grad or any(parameter.requires_grad for parameter in self.parameters())
        learns = learns and torch.is_grad_enabled()
        gives_weights = "Sdpa" not in type(self.attn).__name__
        if (
            (learns and self.attn.use_rel_pos and not _in_half_on_cpu(hidden_states))
            or gives_weights
            or torch.compiler.is_exporting()
            or (torch.compiler.is_compiling() and (learns or _in_blocks(hidden_states)))
        ):
            return super().forward(hidden_states)
        # Patches come with their channels apart in memory, an order that all later sums and norms would inherit.
        hidden_states = hidden_states.contiguous()
        hidden_states = hidden_states + self._attend(self.layer_norm1(hidden_states))
        return hidden_states + self.mlp(self.layer_norm2(hidden_states))

    def _attend(self, hidden_states: torch.Tensor) -> torch.Tensor:
        attention = self.attn
        batch_size, height, width, _ = hidden_states.shape
        # 1. Project, and fill up the last windows with what their empty patches would be projected to.
        window = (self.window_size, self.window_size) if self.window_size > 0 else (height, width)
        num_rows, num_columns = -(-height // window[0]), -(-width // window[1])
        qkv = attention.qkv(hidden_states)
        if (num_rows * window[0], num_columns * window[1]) != (height, width):
            projected = qkv
            qkv = projected.new_zeros(batch_size, num_rows * window[0], num_columns * window[1], projected.shape[-1])
            if attention.qkv.bias is not None:
                qkv += attention.qkv.bias
            qkv[:, :height, :width] = projected
        # 2. One sequence for each window and head.
        qkv = qkv.reshape(batch_size, num_rows, window[0], num_columns, window[1], 3, attention.num_attention_heads, -1)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 4).flatten(2, 3).contiguous()
        query, key, value = qkv
        # 3. What is added for the row and for the column of a key.
        query, rows, columns = query * attention.scale, None, None
        if attention.use_rel_pos:
            grid = qkv[0].unflatten(1, window)
            of_rows = attention.get_rel_pos(window[0], window[0], attention.rel_pos_h)
            of_columns = attention.get_rel_pos(window[1], window[1], attention.rel_pos_w)
            rows = torch.einsum("nhwc,hkc->nhwk", grid, of_rows).flatten(1, 2)
            columns = torch.einsum("nhwc,wkc->nhwk", grid, of_columns).flatten(1, 2)
        # 4. Attend within each sequence, and put the windows together again.
        if learns_in_half_on_cpu(query):
            new = _attend_to_learn(query, key, value, rows, columns)
        elif rows is None:
            new = F.scaled_dot_product_attention(query[None], key[None], value[None], scale=1.0)[0]
        else:
            attend = _attend_in_blocks if _in_blocks(query) and not query.requires_grad else _attend_at_once
            new = attend(query, key, value, rows, columns)
        new = new.reshape(batch_size, num_rows, num_columns, attention.num_attention_heads, *window, -1)
        new = new.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        return attention.proj(new[:, :height, :width])


class SspSamVisionLayer(_QuickLayer, SamVisionLayer):
    """A layer of SAM's image encoder."""


class SspSamHQVisionLayer(_QuickLayer, SamHQVisionLayer):
    """A layer of SAM-HQ's image encoder."""


def _in_blocks(states: torch.Tensor) -> bool:
    """Whether attention takes turns here, which the compiler would unroll: it gets transformers' layers instead."""
    return states.device.type == "cpu" and states.dtype == torch.float32


def _in_half_on_cpu(states: torch.Tensor) -> bool:
    """Whether products are in half precision here, be it by autocast."""
    return states.device.type == "cpu" and (states.dtype != torch.float32 or torch.is_autocast_enabled("cpu"))


def _attend_to_learn(query, key, value, rows, columns) -> torch.Tensor:
    """Attends by products whose gradients take less time than those of fused attention."""
    if rows is None:
        return attend_in_parts(query, key, value)
    added = (rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(2)
    return attend_in_parts(query, key, value, added.to(query.dtype))


def _attend_at_once(query, key, value, rows, columns) -> torch.Tensor:
    """
    Puts the added terms into the product, so that fused attention needs no table of them.

    The query gets its terms for each row and column as further channels, the key ones that tell its row and column.
    """
    height, width, head_size = rows.shape[-1], columns.shape[-1], value.shape[-1]
    row, column = (torch.eye(size, dtype=key.dtype, device=key.device) for size in (height, width))
    position = torch.cat([row.repeat_interleave(width, dim=0), column.repeat(height, 1)], dim=1)
    query = torch.cat([query, rows, columns], dim=-1)
    key = torch.cat([key, position.expand(len(key), -1, -1)], dim=-1)
    value = F.pad(value, (0, height + width))  # fused attention is quick where all have equally many channels
    new = F.scaled_dot_product_attention(query[None], key[None], value[None], scale=1.0)
    return new[0, ..., :head_size]


def _attend_in_blocks(query, key, value, rows, columns) -> torch.Tensor:
    """Attends with as many heads, or as many rows of one head, at a time as the processor's cache holds weights for."""
    height, width, length = rows.shape[-1], columns.shape[-1], query.shape[1]
    num_heads = max(1, BLOCK // length**2)
    num_queries = max(1, min(length, BLOCK // length))
    new, block = torch.empty_like(value), value.new_empty(num_heads, num_queries, length)
    for head in range(0, len(query), num_heads):
        heads = head if num_heads == 1 else slice(head, head + num_heads)  # one matrix is quicker than a batch of one
        keys, values = key[heads].transpose(-1, -2), value[heads]
        for first in range(0, length, num_queries):
            here = (heads, slice(first, first + num_queries))
            weights = block[: len(query[heads])] if num_heads > 1 else block[0, : len(query[here])]
            torch.matmul(query[here], keys, out=weights)
            by_position = weights.view(*weights.shape[:-1], height, width)
            by_position += rows[here].unsqueeze(-1)
            by_position += columns[here].unsqueeze(-2)
            torch.softmax(weights, dim=-1, out=weights)
            torch.matmul(weights, values, out=new[here])
    return new
