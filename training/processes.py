# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What joins the processes of a launch, and what one of them does for all."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list


def open_accelerator() -> Accelerator:
    """Returns what joins the processes of a launch, be it on CPUs; they may wait a day for the slowest one's images."""
    return Accelerator(
        cpu=not torch.accelerator.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
    )


def choose_precision(precision: str | None) -> str | None:
    """Returns the precision of matrix products, or `None` for that of the launch; `"auto"` is one of these two."""
    if precision != "auto":
        return precision
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no":
        return None
    if torch.accelerator.is_available():
        has_units = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        has_units = any(features.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return "bf16" if has_units else "no"


def on_main(accelerator: Accelerator, action: Callable[[], Any]) -> Any:
    """Runs an action on the main process; what it returned, or raised for bad input, is that of every process."""
    result: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            result[0] = action()
        except (ValueError, OSError) as error:
            result[1] = error
    if accelerator.num_processes > 1:
        broadcast_object_list(result, from_process=0)
    if result[1] is not None:
        raise result[1]
    return result[0]
