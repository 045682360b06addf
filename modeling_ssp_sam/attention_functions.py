# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Attention spelled out, and what PyTorch's fused attention takes quickly on a CPU.

Shapes: E expressions, T keys.
"""

import torch
from torch.nn import functional as F

# A number of keys that fused attention takes quickly on a CPU is a multiple of this; found by trial, with AVX-512.
BLOCK = 16
# In float32 up to so many keys a last block that is not full costs more than filling it up.
FEW_KEYS = 32
# Weights that are spelled out at once: four MiB in half precision.
PART = 1 << 21


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention spelled out; `query` (E, heads, queries, head_dim), `attention_mask` additive or None."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def learns_in_half_on_cpu(*states: torch.Tensor) -> bool:
    """Whether gradients go through states for which PyTorch's fused attention takes longer than its parts."""
    half = states[0].device.type == "cpu" and states[0].dtype != torch.float32
    return half and torch.is_grad_enabled() and any(state.requires_grad for state in states)


def half_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention spelled out as above, with weights that never leave the precision of the query."""
    dropout = dropout if module.training else 0.0
    return attend_in_parts(query * scaling, key, value, attention_mask, dropout).transpose(1, 2).contiguous(), None


def attend_in_parts(query, key, value, mask=None, dropout: float = 0.0) -> torch.Tensor:
    """
    Attends with weights spelled out, as many sequences at a time as a processor's cache holds weights of.

    Args:
        query (`torch.Tensor` of shape `(E, ..., queries, head_dim)`): Scaled queries.
        key, value (`torch.Tensor` of shape `(E, ..., T, head_dim)`).
        mask (`torch.Tensor` of shape `(E or 1, ..., queries or 1, T)`, *optional*): What is added to the weights.
        dropout (`float`): Share of weights that is dropped.

    Returns:
        `torch.Tensor` of shape `(E, ..., queries, head_dim)`.
    """
    size = max(1, PART // (query[0, ..., 0].numel() * key.shape[-2]))
    if len(query) > size and not torch.compiler.is_compiling():  # a loop would be compiled for each number
        groups = [states.split(size) for states in (query, key, value)]
        masks = [None] * len(groups[0]) if mask is None else mask.expand(len(query), *mask.shape[1:]).split(size)
        return torch.cat([attend_in_parts(*part, dropout) for part in zip(*groups, masks, strict=True)])
    weights = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        weights = weights + mask
    weights = F.dropout(F.softmax(weights, dim=-1, dtype=query.dtype), p=dropout)
    return torch.matmul(weights, value)


def fill_blocks(
    key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """
    Appends keys that nothing attends to where fused attention takes longer without them.

    Args:
        key, value (`torch.Tensor` of shape `(E, heads, T, head_dim)`).
        mask (`torch.Tensor` of shape `(E or 1, 1, queries or 1, T)`, *optional*): What is added to the weights.

    Returns:
        `tuple`: key, value and mask, as they came or with up to 15 keys more.
    """
    compiled = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
    if compiled or key.device.type != "cpu":
        return key, value, mask
    spare = -key.shape[2] % BLOCK
    # A single key beyond the last block costs little.
    if spare in (0, BLOCK - 1) or (key.dtype == torch.float32 and key.shape[2] > FEW_KEYS):
        return key, value, mask
    if mask is None:
        mask = key.new_zeros(1, 1, 1, key.shape[2])
    mask = F.pad(mask, (0, spare), value=float("-inf"))
    return F.pad(key, (0, 0, 0, spare)), F.pad(value, (0, 0, 0, spare)), mask
