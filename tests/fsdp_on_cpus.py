"""
Trains under FSDP 2 in processes without a GPU: `accelerate launch tests/fsdp_on_cpus.py <words of training/train.py>`.

Accelerate offers FSDP on accelerators alone, though torch shards on CPUs as well. Here its state is told that it may,
with the settings of training/accelerate_configs/fsdp.yaml; everything after that is what runs on GPUs.
"""

import os
import sys
from pathlib import Path

import yaml
from accelerate import DistributedType
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin

ROOT = Path(__file__).resolve().parents[1]
CONFIG = yaml.safe_load((ROOT / "training/accelerate_configs/fsdp.yaml").read_text("utf-8"))["fsdp_config"]
begin = AcceleratorState.__init__


def begin_sharded(self, *args, fsdp_plugin=None, **kwargs):
    """Begins as ever, and divides the weights from the first time on."""
    known = bool(self._shared_state)
    begin(self, *args, **kwargs)
    if known:
        return
    # As `accelerate launch` hands the settings of its file to the processes.
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    os.environ.update({name.upper(): str(value) for name, value in CONFIG.items()})
    self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    self.fsdp_plugin = FullyShardedDataParallelPlugin()
    if self._mixed_precision != "no":
        self.fsdp_plugin.set_mixed_precision(self._mixed_precision)


if __name__ == "__main__":
    AcceleratorState.__init__ = begin_sharded
    sys.path.insert(0, str(ROOT))
    from ssp_sam.training.train import run

    sys.exit(run(sys.argv[1:]))
