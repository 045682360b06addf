# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Computes the features of images once, to train from them: `ssp-sam cache` for `accelerate launch` from a checkout."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from ssp_sam.cli.main import main

    sys.exit(main(["cache", *sys.argv[1:]]))
