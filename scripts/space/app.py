# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A Hugging Face Space with the page of `ssp-sam demo`; `SSP_SAM_MODEL` names another model than the embedded one."""

import os

from transformers import pipeline

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.demo.app import build_demo, launch_demo

page = build_demo(pipeline("referring-segmentation", model=os.environ.get("SSP_SAM_MODEL", str(EMBEDDED_CHECKPOINT))))

if __name__ == "__main__":
    launch_demo(page, host=None)
