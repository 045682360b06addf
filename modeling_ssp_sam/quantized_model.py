# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Whether a quantised model gives the masks that it should."""

from typing import Any

import torch


def check_quantized(model, quantization: Any):
    """
    Refuses what torchao makes wrong masks of: NaN where small scales become 0, and products that overflow.

    Args:
        model: An `SspSamModel`.
        quantization: Its `quantization_config`, a dict or transformers' class.

    Raises:
        ValueError: Says what to choose in place of it.
    """
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    if settings["quant_method"] == "torchao" and model.dtype == torch.float16:
        raise ValueError(
            "expected a model quantised by torchao in bfloat16 or float32, got float16, which makes NaN; choose a dtype"
        )
    rows = torch.full((32, 32), 127, dtype=torch.int8, device="cpu")
    multiplied = model.device.type == "cpu" and "DynamicActivation" in str(settings.get("quant_type"))
    if multiplied and not torch.equal(torch._int_mm(rows, rows), rows.int() @ rows.int()):
        raise ValueError(
            "eight-bit products overflow on this processor; load the model in bfloat16, or quantise weights alone"
        )
