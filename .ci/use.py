# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Uses an installed ssp-sam in the current folder, a little of every part: `python use.py scene.png`."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from ssp_sam.cli.main import main

NAMED = ("torch", "transformers", "datasets", "accelerate", "huggingface_hub", "safetensors", "numpy", "pillow")
TRAINING = "--config own_data --train_split train --eval_split train --num_epochs 1 --min_steps 3 --num_train_scenes 9"
COMMANDS = (
    ["info"],
    ["segment", "photo.png", "the red car", "das Auto, größer", "--output", "result ü.png"],
    ["explain", "photo.png", "the red car", "--output", "explanation.png"],
    ["prepare", "folder", "--annotations", "mine", "--output", "prepared"],
    ["show-data", "prepared", "--split", "train", "--output", "samples.png"],
    ["cache", "--data", "prepared", "--output", "features"],
    ["train", *TRAINING.split(), "--dataset", "prepared", "--output_dir", "run"],
    ["evaluate", "--data", "prepared", "--split", "train", "--model", "run/final", "--output", "report"],
    ["export", "exported"],
)
# Without this package: transformers runs the code of the export.
LOAD = """
from transformers import pipeline
ask = pipeline("referring-segmentation", "./exported", trust_remote_code=True)
assert ask("photo.png", "the red car")[0]["box"], "nothing found"
import sys
assert "ssp_sam" not in sys.modules
"""


def write_inputs(scene: Path) -> None:
    """A photograph, and a custom dataset of one image and one sentence."""
    shutil.copy(scene, "photo.png")
    Path("mine").mkdir()
    shutil.copy(scene, "mine/größe 1.png")
    with Image.open(scene) as image:
        mask = Image.new("L", image.size)
    mask.paste(255, (40, 230, 160, 350))
    mask.save("mine/mask.png")
    record = '{"image": "größe 1.png", "mask": "mask.png", "expression": "the red car"}\n'
    Path("mine/metadata.jsonl").write_text(record, "utf-8")


def run() -> None:
    write_inputs(Path(sys.argv[1]))
    for command in COMMANDS:
        print("\n$ ssp-sam", *map(ascii, command), flush=True)
        if code := main(command):
            raise SystemExit(f"{command[0]} ended with {code}")
    script = Path(sys.executable).with_name("ssp-sam")
    assert subprocess.run([script, "--version"], check=True, capture_output=True).stdout
    environment = {**os.environ, "HF_MODULES_CACHE": str(Path.cwd() / "modules")}
    subprocess.run([sys.executable, "-I", "-c", LOAD], check=True, env=environment)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in NAMED)
    print(f"\nPython {platform.python_version()}: {versions}")


if __name__ == "__main__":
    run()
