# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Runs what the documents show from the root of a checkout: in a shell, as readers do, or sooner in this process."""

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssp_sam.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def checkout_for_reading(folder: Path) -> Path:
    """Fills a folder with what the documents' commands name; what they write stays out of the real checkout."""
    shutil.copytree(ROOT / "examples", folder / "examples")  # makes the folder, too
    for name in ("scripts", "training", "ssp_sam"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_here(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Runs commands in a folder and in this process, which has already imported what they need.

    What a shell adds is left out; `ssp-sam`, `python <script>` and `accelerate launch <script>` are what it knows.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # scripts change it
    lines = code.replace("\\\n", " ").splitlines()
    for words in filter(None, (shlex.split(line, comments=True) for line in lines)):
        if words[0] == "ssp-sam":
            assert main(words[1:]) == 0, words
            continue
        launcher = 2 if words[:2] == ["accelerate", "launch"] else 1
        assert launcher == 2 or words[0] == "python", f"{words[0]} is for a shell"
        monkeypatch.setattr(sys, "argv", words[launcher:])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(words[launcher], run_name="__main__")
        assert not end.value.code, words


def run_in_shell(code: str, folder: Path):
    """Runs shell commands in a folder, offline; the commands of this very checkout stand first on the path."""
    command = folder / "bin" / "ssp-sam"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssp_sam.cli.main "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(["bash", "-euc", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
