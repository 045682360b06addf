# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings of adapters that are trained in place of the weights."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal


@dataclass
class AdapterArguments:
    """Whether adapters are trained in place of the weights; needs the extra ssp-sam[lora]."""

    _argument_group_name = "adapters"
    lora_rank: int = field(
        default=0, metadata={"help": "Train low-rank adapters of this rank alone and save them alone; 0: the weights."}
    )
    lora_targets: str | None = field(
        default=None,
        metadata={
            "help": "Regular expression of the adapted layers' whole names; every linear layer outside the image "
            "encoders when not given."
        },
    )
    frozen_dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "Precision of the frozen towers' weights while adapters are trained."}
    )

    def __post_init__(self):
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank must be at least 0, got {self.lora_rank}")
        if self.lora_rank == 0 and (self.lora_targets is not None or self.frozen_dtype != "float32"):
            raise ValueError(
                f"lora_targets ({self.lora_targets!r}) and frozen_dtype ({self.frozen_dtype!r}) need lora_rank, got 0"
            )
        if self.lora_rank and find_spec("peft") is None:
            raise ValueError(f"lora_rank ({self.lora_rank}) needs peft: pip install 'ssp-sam[lora]'")
