# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Eight-bit linear layers for models on a CPU, at a quarter of their memory."""

import torch
from torch import nn

# Narrower layers are boxes, scores and word weights: they cost nothing, and rounding would show in every answer.
MIN_OUTPUTS = 16
LARGEST = 127


class Int8Linear(nn.Module):
    """
    A linear layer that multiplies whole numbers of eight bits.

    Weights are rounded once, with one scale per output; inputs are rounded in every call, with one scale per row, so
    nothing has to be calibrated. Products are summed exactly, in 32 bits. It cannot be trained.

    Args:
        linear: The layer to replace, float32.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale, rounded = _rounded_rows(linear.weight.detach())
        self.register_buffer("int8_weight", rounded)  # (outputs, inputs)
        self.register_buffer("scale", scale.squeeze(1))  # (outputs,)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Turns `(…, inputs)` into `(…, outputs)` of the same dtype."""
        scale, rows = _rounded_rows(inputs.detach().reshape(-1, self.in_features).float())
        sums = torch._int_mm(rows, self.int8_weight.t())  # (rows, outputs) int32
        outputs = sums.float() * scale * self.scale
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def quantize_linear_layers(model: nn.Module) -> nn.Module:
    """
    Replaces the linear layers of a model by eight-bit ones, in place; all else stays in float32.

    Args:
        model: A float32 model on the CPU, such as `SspSamModel` or the `model` of a pipeline. Layers with fewer than 16
            outputs are left as they are.

    Returns:
        The same model, in eval mode. It runs and cannot be trained; `save_pretrained` should be called before.

    Raises:
        ValueError: If the model is not in float32, or not on the CPU.
    """
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            raise ValueError(f"expected a model on the CPU, got {name} on {parameter.device}; call model.cpu() first")
        if parameter.dtype != torch.float32:
            raise ValueError(f"expected a float32 model, got {name} in {parameter.dtype}; call model.float() first")
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.out_features >= MIN_OUTPUTS:
                setattr(module, name, Int8Linear(child))
    return model.eval()


def _rounded_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Splits `(rows, columns)` into a scale per row, `(rows, 1)`, and whole numbers from -127 to 127."""
    scale = rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny * LARGEST) / LARGEST
    return scale, (rows / scale).round().to(torch.int8)


__all__ = ["Int8Linear", "quantize_linear_layers"]
