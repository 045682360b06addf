# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The scripts that are `ssp-sam` from a checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DOORS = sorted(path.name for path in SCRIPTS.glob("*.py") if "` from a checkout" in path.read_text("utf-8"))


@pytest.mark.parametrize("name", DOORS)
def test_a_script_starts_its_subcommand_from_any_folder(name, tmp_path):
    command = [sys.executable, str(SCRIPTS / name), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\nexample:\n  ssp-sam " in done.stdout


def test_there_is_a_script_for_each_of_these():
    assert len(DOORS) == 6
