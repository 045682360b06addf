# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Evaluates a model on a benchmark or on generated scenes: `ssp-sam evaluate` from a checkout."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from ssp_sam.cli.main import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))
