# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Runs what the README shows, as a reader would: in a shell, from the root of a checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def checkout_for_reading(folder: Path) -> Path:
    """Fills a folder with what the README's commands name; what they write stays out of the real checkout."""
    shutil.copytree(ROOT / "examples", folder / "examples")  # makes the folder, too
    for name in ("scripts", "training", "ssp_sam"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_in_shell(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs shell commands in a folder, offline; the commands of this very checkout stand first on the path."""
    command = folder / "bin" / "ssp-sam"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssp_sam.cli.main "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(["bash", "-euc", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
