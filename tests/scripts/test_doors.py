# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The scripts that are `ssp-sam` from a checkout."""

from pathlib import Path

import pytest

from tests.helpers.processes import run_in_processes, run_script

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DOORS = sorted(path.name for path in SCRIPTS.glob("*.py") if "` from a checkout" in path.read_text("utf-8"))


@pytest.mark.parametrize("name", DOORS)
def test_a_script_starts_its_subcommand_from_any_folder(name, tmp_path):
    said = run_in_processes(run_script, [tmp_path, SCRIPTS / name, "--help"], tmp_path / "said").said()
    assert "\nexample:\n  ssp-sam " in said


def test_there_is_a_script_for_each_of_these():
    assert len(DOORS) == 6
