# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The numbers that a prediction can be asked with, and what each may be, for every door; it needs no other library."""

import math
import numbers
from typing import Any

# Lowest and highest value, and whether it is a whole number.
RANGES = {
    "mask_threshold": (0, 1, False),
    "no_target_threshold": (0, 1, False),
    "min_mask_pixels": (0, 2**31, True),
    "score_temperature": (1e-3, 1e3, False),
    "score_bias": (-1e3, 1e3, False),
    "expression_batch_size": (1, 2**31, True),
    "batch_size": (1, 2**31, True),
    "num_workers": (0, 1024, True),
}


def check_settings(**settings: Any) -> dict[str, Any]:
    """Returns those of `RANGES` that are not None, as they are.

    Raises:
        `ValueError`: If one is no number, or not within its range.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    for name, value in given.items():
        low, high, whole = RANGES[name]
        kind = numbers.Integral if whole else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high or math.isnan(value):
            what = "a whole number" if whole else "a number"
            reach = f"from {low:g}" if high == 2**31 else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} must be {what} {reach}, got {repr(value)[:60]}")
    return given
