# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The prompt generator: learned tokens and fused patches become SAM's prompts, a box and a no-target score.

Shapes: E expressions, P prompt tokens, N patches, T = 1 + P + N tokens, d prompt size.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_adapters import SspSamAttention, SspSamMLP


def look_up_all(embedding: nn.Module, num_rows: int, device: torch.device) -> torch.Tensor:
    """Returns all rows of an embedding. A call, unlike a look at its weight, fetches an offloaded or adapted one."""
    return embedding(torch.arange(num_rows, device=device))


class SspSamFusionLayer(GradientCheckpointingLayer):
    """A post-norm transformer layer; positions are added to queries and keys alone."""

    def __init__(
        self, config, *, hidden_size: int, num_heads: int, intermediate_size: int, dropout: float, reads_memory: bool
    ):
        super().__init__()
        self.self_attn = SspSamAttention(config, hidden_size=hidden_size, num_heads=num_heads, dropout=dropout)
        self.self_attn_norm = nn.LayerNorm(hidden_size)
        self.memory_attn = None
        if reads_memory:
            self.memory_attn = SspSamAttention(config, hidden_size=hidden_size, num_heads=num_heads, dropout=dropout)
            self.memory_attn_norm = nn.LayerNorm(hidden_size)
        self.mlp = SspSamMLP(hidden_size, intermediate_size, hidden_size)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor | None,
        memory: torch.Tensor | None = None,
        num_read: int | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """
        Args:
            tokens (`torch.Tensor` of shape `(E, T, d)`).
            positions (`torch.Tensor` of shape `(1, T, d)`, *optional*): Learned positions.
            memory (`torch.Tensor` of shape `(E, N, d)`, *optional*): Fused patches, for the decoder form.
            num_read (`int`, *optional*): How many of the first tokens are read after this layer; all if `None`.

        Returns:
            `torch.Tensor` of shape `(E, T or num_read, d)`.
        """
        placed = tokens if positions is None else tokens + positions
        attended = self.self_attn(placed[:, :num_read], placed, tokens, **kwargs)[0]
        tokens = self.self_attn_norm(tokens[:, :num_read] + self.dropout(attended))
        if self.memory_attn is not None:
            attended = self.memory_attn(tokens, memory, memory, **kwargs)[0]
            tokens = self.memory_attn_norm(tokens + self.dropout(attended))
        return self.mlp_norm(tokens + self.dropout(self.mlp(tokens)))


class SspSamPromptGenerator(nn.Module):
    """
    Turns fused patches into the tokens that SAM's mask decoder reads as sparse prompts.

    Source: SSP-SAM (arXiv 2603.18086), prompt generator.
    """

    def __init__(
        self,
        config,
        *,
        hidden_size: int,
        num_prompt_tokens: int,
        num_patches: int,
        num_layers: int,
        num_heads: int,
        intermediate_size: int,
        dropout: float,
        layer_type: str,
        prompt_source: str,
    ):
        super().__init__()
        self.num_prompt_tokens, self.num_tokens = num_prompt_tokens, 1 + num_prompt_tokens + num_patches
        self.reads_memory = layer_type == "decoder"
        self.prompt_source = prompt_source
        self.reg_token = nn.Embedding(1, hidden_size)
        self.prompt_tokens = nn.Embedding(num_prompt_tokens, hidden_size)
        if not self.reads_memory:
            self.positions = nn.Embedding(self.num_tokens, hidden_size)
        self.layers = nn.ModuleList(
            SspSamFusionLayer(
                config,
                hidden_size=hidden_size,
                num_heads=num_heads,
                intermediate_size=intermediate_size,
                dropout=dropout,
                reads_memory=self.reads_memory,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, fused_patches: torch.Tensor, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            fused_patches (`torch.Tensor` of shape `(E, N, d)`).

        Returns:
            `tuple`: the reg token `(E, d)` and the prompts `(E, P or N, d)`.
        """
        device = fused_patches.device
        # 1. The learned tokens stand first.
        prompt_tokens = look_up_all(self.prompt_tokens, self.num_prompt_tokens, device)
        learned = torch.cat([look_up_all(self.reg_token, 1, device), prompt_tokens])
        tokens = learned.to(fused_patches.dtype).unsqueeze(0).expand(fused_patches.shape[0], -1, -1)
        # 2. Encoder form: patches join the sequence. Decoder form: they are only read.
        if self.reads_memory:
            positions, memory = None, fused_patches
        else:
            tokens = torch.cat([tokens, fused_patches], dim=1)  # (E, 1 + P + N, d)
            positions, memory = look_up_all(self.positions, self.num_tokens, device).unsqueeze(0), None
        # 3. Which tokens prompt SAM is a variant of the paper's ablation; the others end before the last layer.
        from_patches = self.prompt_source == "patches"
        num_read = 1 if from_patches else 1 + self.num_prompt_tokens
        for layer in self.layers[:-1]:
            tokens = layer(tokens, positions, memory, **kwargs)
        tokens = self.norm(self.layers[-1](tokens, positions, memory, num_read=num_read, **kwargs))
        return tokens[:, 0], fused_patches if from_patches else tokens[:, 1:]
