# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a step against the gradient does to a loss: more can be said of a training than where it ends."""

from collections.abc import Callable

import torch
from torch import nn

LENGTH = 1e-3


def lowered_by_a_step(model: nn.Module, loss: Callable[[], torch.Tensor]) -> float:
    """
    Moves all parameters a little against the gradient of a loss. Returns how much less the loss is then, divided by
    what the gradient promises: 1 for a smooth loss, 0 or less where the gradient is not the loss's.
    """

    def with_equal_dropout() -> torch.Tensor:
        torch.manual_seed(0)
        return loss()

    before = with_equal_dropout()
    before.backward()
    moved = [weight for weight in model.parameters() if weight.grad is not None]
    slope = torch.stack([weight.grad.norm() for weight in moved]).norm()
    with torch.no_grad():
        for weight in moved:
            weight -= LENGTH * weight.grad / slope
        return ((before - with_equal_dropout()) / (LENGTH * slope)).item()
