# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains with divided weights or optimizer states in processes without a GPU:

    accelerate launch tests/helpers/sharded_on_cpus.py training/accelerate_configs/fsdp.yaml <settings>

Accelerate offers FSDP and DeepSpeed on accelerators alone, though both run on CPUs. Here its state is told that it may,
with the settings of the named file; everything after that is what runs on GPUs.
"""

import os
import sys
from pathlib import Path

import yaml
from accelerate import DistributedType
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin

ROOT = Path(__file__).resolve().parents[2]
begin = AcceleratorState.__init__


def hand_over(config: dict):
    """Sets the variables by which `accelerate launch` hands the settings of its file to the processes."""
    if config["distributed_type"] == "FSDP":
        os.environ["ACCELERATE_USE_FSDP"] = "true"
        os.environ.update({name.upper(): str(value) for name, value in config["fsdp_config"].items()})
    else:
        prefix = "ACCELERATE_DEEPSPEED_"
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        os.environ.update({prefix + name.upper(): str(value) for name, value in config["deepspeed_config"].items()})


def begin_sharded(self, *args, fsdp_plugin=None, deepspeed_plugin=None, **kwargs):
    """Begins as ever, and divides from the first time on."""
    known = bool(self._shared_state)
    begin(self, *args, **kwargs)
    if known:
        return
    if "ACCELERATE_USE_FSDP" in os.environ:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = FullyShardedDataParallelPlugin()
        if self._mixed_precision != "no":
            self.fsdp_plugin.set_mixed_precision(self._mixed_precision)
    else:
        import deepspeed

        deepspeed.comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
        self.distributed_type = DistributedType.DEEPSPEED
        self.deepspeed_plugins = deepspeed_plugin or DeepSpeedPlugin()
        self.deepspeed_plugins.set_mixed_precision(self._mixed_precision)
        self.deepspeed_plugins.select(_from_accelerator_state=True)
    PartialState._shared_state["distributed_type"] = self.distributed_type


def train(words: list[str]) -> int:
    """Trains with the settings of the words after the first, which names the file of Accelerate's settings."""
    hand_over(yaml.safe_load(Path(words[0]).read_text("utf-8")))
    AcceleratorState.__init__ = begin_sharded
    from ssp_sam.training.train import run

    return run(words[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(train(sys.argv[1:]))
