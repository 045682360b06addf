# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Prepares a benchmark of referring segmentation or a custom dataset: `ssp-sam prepare` from a checkout."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from ssp_sam.cli.main import main

    sys.exit(main(["prepare", *sys.argv[1:]]))
