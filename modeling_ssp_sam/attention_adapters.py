# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The semantic-spatial half of the prompt encoder: linguistic adapter, visual adapter, verification and fusion.

Shapes: E expressions, L words, N = g * g patches, C projection channels, D adapter channels, d prompt size.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .attention_functions import eager_attention_forward, fill_blocks, half_attention_forward, learns_in_half_on_cpu
from .recurrence import SspSamGRU


class SspSamAttention(nn.Module):
    """Multi-head attention between two sequences, through transformers' attention interface."""

    def __init__(self, config, *, hidden_size: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        self.config = config  # read for `_attn_implementation` alone, which may change after construction
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.scaling = self.head_dim**-0.5
        self.dropout = dropout
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, query, key, value, attention_mask=None, **kwargs):
        """
        Args:
            query (`torch.Tensor` of shape `(E, queries, hidden)`).
            key, value (`torch.Tensor` of shape `(E, keys, hidden)`).
            attention_mask (`torch.Tensor` of shape `(E, keys)`, *optional*): 1 for keys that take part, 0 for padding.

        Returns:
            `tuple`: attended values `(E, queries, hidden)`, and weights `(E, heads, queries, keys)` or `None`.
        """
        batch_size, num_queries, width = query.shape
        query, key, value = (
            projection(states).view(batch_size, -1, self.num_heads, self.head_dim).transpose(1, 2)
            for projection, states in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        if attention_mask is not None:
            masked = torch.finfo(query.dtype).min
            attention_mask = (1.0 - attention_mask[:, None, None, :].to(query.dtype)) * masked
            attention_mask = attention_mask.expand(-1, -1, num_queries, -1)
        implementation = self.config._attn_implementation
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        if implementation == "sdpa":
            key, value, attention_mask = fill_blocks(key, value, attention_mask)
            if learns_in_half_on_cpu(query, key):
                attend = half_attention_forward
        dropout = self.dropout if self.training else 0.0
        attended, weights = attend(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout, **kwargs
        )
        return self.out_proj(attended.reshape(batch_size, num_queries, width)), weights


class SspSamMLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(size, next_size) for size, next_size in zip(sizes[:-1], sizes[1:]))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            hidden_states = nn.functional.relu(layer(hidden_states), inplace=True)
        return self.layers[-1](hidden_states)


def words_first_positions(word_mask: torch.Tensor) -> torch.Tensor:
    """
    Says which column each position goes to when words come first and padding behind them, both in their order.

    Args:
        word_mask (`torch.Tensor` of shape `(E, L)`): 1 for words, 0 for padding.

    Returns:
        `torch.LongTensor` of shape `(E, L)`: new columns; every column as it was where padding already stands last.
    """
    is_word = (word_mask != 0).long()
    num_words = is_word.sum(dim=1, keepdim=True)
    return torch.where(is_word == 1, is_word.cumsum(1) - 1, num_words + (1 - is_word).cumsum(1) - 1)


def take_positions(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Picks the `(E, L)` columns `positions` from the `(E, L, channels)` states."""
    return states.gather(1, positions.unsqueeze(-1).expand_as(states))


class SspSamLinguisticAdapter(nn.Module):
    """
    Weighs the words of an expression and sums them to one vector.

    Source: SSP-SAM (arXiv 2603.18086), linguistic attention adapter.
    """

    def __init__(self, *, adapter_dim: int, reads_padding: bool):
        super().__init__()
        self.reads_padding = reads_padding
        self.forward_gru = SspSamGRU(adapter_dim, adapter_dim)
        self.backward_gru = SspSamGRU(adapter_dim, adapter_dim)
        self.word_score = nn.Linear(2 * adapter_dim, 1)

    def forward(self, word_embeddings: torch.Tensor, word_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            word_embeddings (`torch.Tensor` of shape `(E, L, D)`): Words in adapter channels.
            word_mask (`torch.Tensor` of shape `(E, L)`): 1 for words, start and end tokens included, 0 for padding.

        Returns:
            `tuple`: the weighted sum `(E, D)` and the word weights `(E, L)`, which are 0 on padding and sum to 1.
        """
        scores = self.word_score(self._read_both_ways(word_embeddings, word_mask)).squeeze(-1).float()
        scores = scores.masked_fill(word_mask == 0, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1).to(word_embeddings.dtype)
        return torch.matmul(weights.unsqueeze(1), word_embeddings).squeeze(1), weights

    def _read_both_ways(self, words: torch.Tensor, word_mask: torch.Tensor) -> torch.Tensor:
        """Runs both GRUs over `(E, L, D)` words; returns their `(E, L, 2D)` states. Padding is read last or not."""
        if self.reads_padding:
            return torch.cat([self.forward_gru(words), self.backward_gru(words.flip(1)).flip(1)], dim=-1)
        # A GRU cannot skip positions, so words go first, in either direction, and padding cannot reach them.
        positions = words_first_positions(word_mask)
        columns = torch.arange(words.shape[1], device=words.device).expand(words.shape[:2])
        num_words = (word_mask != 0).sum(dim=1, keepdim=True)
        reverse = torch.where(columns < num_words, num_words - 1 - columns, columns)
        words = torch.zeros_like(words).scatter(1, positions.unsqueeze(-1).expand_as(words), words)
        backward = take_positions(self.backward_gru(take_positions(words, reverse)), reverse)
        return take_positions(torch.cat([self.forward_gru(words), backward], dim=-1), positions)


class SspSamVerification(nn.Module):
    """
    Checks each patch against what the words say about it, and scores the agreement.

    Every patch gathers the words that concern it; the cosine between patch and gathered words, through a Gaussian of
    learned height and width, is the patch's verification score.

    Source: SSP-SAM (arXiv 2603.18086), verification.
    """

    def __init__(self, config, *, adapter_dim: int, num_heads: int, dropout: float, sigma: float, gaussian: bool):
        super().__init__()
        self.initial_sigma = sigma
        self.gaussian = gaussian
        self.word_attention = SspSamAttention(config, hidden_size=adapter_dim, num_heads=num_heads, dropout=dropout)
        self.image_projection = nn.Linear(adapter_dim, adapter_dim)
        self.text_projection = nn.Linear(adapter_dim, adapter_dim)
        if gaussian:
            self.scale = nn.Parameter(torch.ones(1))
            self.sigma = nn.Parameter(torch.full((1,), float(sigma)))

    def forward(self, patches: torch.Tensor, word_embeddings: torch.Tensor, word_mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            patches (`torch.Tensor` of shape `(E, N, D)`).
            word_embeddings (`torch.Tensor` of shape `(E, L, D)`).
            word_mask (`torch.Tensor` of shape `(E, L)`).

        Returns:
            `torch.Tensor` of shape `(E, N, 1)`: up to `scale` for the Gaussian, -1 to 1 for the raw cosine.
        """
        gathered, _ = self.word_attention(patches, word_embeddings, word_embeddings, attention_mask=word_mask)
        image = nn.functional.normalize(self.image_projection(patches).float(), dim=-1)
        text = nn.functional.normalize(self.text_projection(gathered).float(), dim=-1)
        agreement = (image * text).sum(dim=-1, keepdim=True)
        if self.gaussian:
            agreement = self.scale * torch.exp(-((1 - agreement) ** 2) / (2 * self.sigma**2))
        return agreement.to(patches.dtype)


class SspSamFusion(nn.Module):
    """
    Multiplies verified patches with the sentence and projects the product to prompt channels.

    Source: SSP-SAM (arXiv 2603.18086), multi-modal fusion.
    """

    def __init__(self, *, adapter_dim: int, prompt_size: int, normalise_patches: bool):
        super().__init__()
        self.patch_norm = nn.LayerNorm(adapter_dim) if normalise_patches else None
        self.projection = nn.Linear(adapter_dim, prompt_size)

    def forward(self, patches: torch.Tensor, verification: torch.Tensor | None, sentence: torch.Tensor):
        """
        Args:
            patches (`torch.Tensor` of shape `(E, N, D)`).
            verification (`torch.Tensor` of shape `(E, N, 1)`, *optional*).
            sentence (`torch.Tensor` of shape `(E, D)`).

        Returns:
            `torch.Tensor` of shape `(E, N, d)`: fused patches M.
        """
        if self.patch_norm is not None:
            patches = self.patch_norm(patches)
        if verification is not None:
            patches = patches * verification
        return self.projection(torch.tanh(patches) * torch.tanh(sentence).unsqueeze(1))
