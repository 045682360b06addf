# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Which optimizer moves which parameter: Muon for the matrices of transformer layers, AdamW for all the rest."""

import re
from typing import Any

import torch
from torch import nn

from .arguments import OptimizationArguments

# Muon's update has unit spectral norm, AdamW's about unit size per entry. In short runs on scenes 20 beat 40.
MUON_LEARNING_RATE_RATIO = 20.0


class MuonWithAdamW(torch.optim.Optimizer):
    """
    Steps two optimizers as one, Muon for the matrices and AdamW for the rest; the parameter groups are those of both.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW):
        self.parts = {"muon": muon, "adamw": adamw}
        super().__init__([{"params": group["params"]} for part in (muon, adamw) for group in part.param_groups], {})
        self.param_groups = [group for part in (muon, adamw) for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure=None):
        """Performs one step of both."""
        loss = None if closure is None else closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict:
        """Returns the states of both by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict):
        """Loads the states of both; their groups stay the groups of this optimizer."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


def build_optimizer(objective: nn.Module, arguments: OptimizationArguments) -> torch.optim.Optimizer:
    """
    Builds AdamW, or Muon and AdamW as one, for what is trainable; norms, biases and embeddings do not decay. Each group
    carries `lr_ratio`, its learning rate over the schedule's.
    """
    not_decayed = {id(p) for m in objective.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    ratios: Any = arguments.learning_rate_ratios or {}
    # Parameters by (which rule, learning rate over the schedule's).
    groups: dict[tuple[str, float], list] = {}
    for name, parameter in objective.named_parameters():
        if not parameter.requires_grad:
            continue
        ratio = next((ratio for part, ratio in ratios.items() if part in name), 1.0)
        decays = parameter.ndim > 1 and id(parameter) not in not_decayed and "embed" not in name.split(".")[-1]
        in_layer = parameter.ndim == 2 and re.search(r"\.layers?\.", name) and "_head." not in name
        rule = "muon" if decays and arguments.optimizer == "muon" and in_layer else "decayed" if decays else "plain"
        groups.setdefault((rule, ratio), []).append(parameter)
    decay = {"decayed": arguments.weight_decay, "plain": 0.0}
    adamw = torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay[rule], "lr_ratio": ratio}
            for (rule, ratio), parameters in groups.items()
            if rule in decay
        ],
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        fused=True,
    )
    matrices = [
        {"params": parameters, "lr_ratio": ratio * MUON_LEARNING_RATE_RATIO}
        for (rule, ratio), parameters in groups.items()
        if rule == "muon"
    ]
    if not matrices:
        return adamw
    # Muon's rate is twenty times AdamW's, so its decay per step is kept equal by dividing.
    muon = torch.optim.Muon(
        matrices,
        lr=arguments.learning_rate * MUON_LEARNING_RATE_RATIO,
        weight_decay=arguments.weight_decay / MUON_LEARNING_RATE_RATIO,
    )
    return MuonWithAdamW(muon, adamw)
