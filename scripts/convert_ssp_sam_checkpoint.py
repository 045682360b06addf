# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Converts a checkpoint of the original SSP-SAM; the same as `ssp-sam convert`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from ssp_sam.modeling_ssp_sam.conversion.convert import main

if __name__ == "__main__":
    sys.exit(main())
