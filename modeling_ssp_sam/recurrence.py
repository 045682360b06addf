# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A GRU that a compiled or exported model runs as one operator, whatever the number of words.

torch.compile does not take `nn.GRU`, and where it is taken, by torch.export, the number of words is fixed.

Shapes: E expressions, L words, D channels.
"""

import torch
from torch import nn

_OPERATOR = f"ssp_sam::{__name__.replace('.', '_')}_gru"  # one for each copy of this file, as remote code has them


class SspSamGRU(nn.Module):
    """One layer of `nn.GRU` in one direction, with its parameters and their names; sequences come first."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Turns `(E, L, input size)` words into the `(E, L, D)` states after each of them."""
        run = _compiled_gru if torch.compiler.is_compiling() else _gru
        return run(words, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)


def _gru(words, weight_ih, weight_hh, bias_ih, bias_hh):
    start = words.new_zeros(1, words.shape[0], weight_hh.shape[1])
    weights = [weight_ih, weight_hh, bias_ih, bias_hh]
    # As in training whatever the mode, without which cuDNN knows no way back; there is no dropout to make a difference.
    return torch.gru(words, start, weights, True, 1, 0.0, True, False, True)[0]


@torch.library.custom_op(_OPERATOR, mutates_args=())
def _compiled_gru(
    words: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias_ih: torch.Tensor,
    bias_hh: torch.Tensor,
) -> torch.Tensor:
    return _gru(words, weight_ih, weight_hh, bias_ih, bias_hh).contiguous()  # words come first inside


@_compiled_gru.register_fake
def _(words, weight_ih, weight_hh, bias_ih, bias_hh):
    return words.new_empty(*words.shape[:2], weight_hh.shape[1])


@torch.library.custom_op(f"{_OPERATOR}_backward", mutates_args=())
def _compiled_gru_backward(
    gradient: torch.Tensor,
    words: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias_ih: torch.Tensor,
    bias_hh: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    # 1. Forward again, now with what the gates were.
    from_words = nn.functional.linear(words, weight_ih, bias_ih)
    state, steps = words.new_zeros(words.shape[0], weight_hh.shape[1]), []
    for gates in from_words.unbind(1):
        from_state = nn.functional.linear(state, weight_hh, bias_hh)
        reset, update = torch.sigmoid(gates + from_state).chunk(3, dim=-1)[:2]
        candidate_from_state = from_state.chunk(3, dim=-1)[2]
        candidate = torch.tanh(gates.chunk(3, dim=-1)[2] + reset * candidate_from_state)
        steps.append((state, reset, update, candidate, candidate_from_state))
        state = candidate + update * (state - candidate)
    # 2. Backward, from the last word to the first.
    carried, at_words, at_states = torch.zeros_like(state), [], []
    for own, (state, reset, update, candidate, candidate_from_state) in zip(gradient.unbind(1)[::-1], steps[::-1]):
        carried = carried + own
        at_candidate = carried * (1 - update) * (1 - candidate**2)
        at_update = carried * (state - candidate) * update * (1 - update)
        at_reset = at_candidate * candidate_from_state * reset * (1 - reset)
        at_words.append(torch.cat([at_reset, at_update, at_candidate], dim=-1))
        at_states.append(torch.cat([at_reset, at_update, at_candidate * reset], dim=-1))
        carried = carried * update + at_states[-1] @ weight_hh
    # 3. Sums over expressions and words.
    at_words, at_states = torch.stack(at_words[::-1], dim=1), torch.stack(at_states[::-1], dim=1)
    states = torch.stack([step[0] for step in steps], dim=1)
    return (
        at_words @ weight_ih,
        torch.einsum("elg,eld->gd", at_words, words).contiguous(),
        torch.einsum("elg,eld->gd", at_states, states).contiguous(),
        at_words.sum((0, 1)),
        at_states.sum((0, 1)),
    )


@_compiled_gru_backward.register_fake
def _(gradient, words, *weights):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (words, *weights))


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


_compiled_gru.register_autograd(
    lambda ctx, gradient: _compiled_gru_backward(gradient, *ctx.saved_tensors), setup_context=_keep_inputs
)
