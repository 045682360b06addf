# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pulling by several processes, and by processes that are killed: whole or absent, and done once."""

import hashlib
import random
import time
from pathlib import Path

import pytest

from ssp_sam.modeling_ssp_sam.conversion.pulled_models import pulled_models
from tests.helpers.authors_repository import AUTHORS, WITHOUT_TOWERS
from tests.helpers.processes import start_processes
from tests.helpers.pulling import pull_in_process

KILLS = 20


def files_of(folder: Path) -> dict[str, str]:
    """The checksums of a model's files, but for the record, which holds the time."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "pulled.json"
    }


def start(hub, home: Path, folder: Path):
    return start_processes(pull_in_process, [hub.url, home, f"{AUTHORS}:{WITHOUT_TOWERS}"], folder)


def start_and_see(hub, home: Path, folder: Path):
    """Starts a pull and returns when its process has begun."""
    processes = start(hub, home, folder)
    while not (folder / "0.err").exists():
        time.sleep(0.01)
    return processes


def test_two_processes_at_once_fetch_and_convert_once(authors_hub, hf_home, tmp_path):
    both = [start(authors_hub, hf_home, tmp_path / name) for name in ("first", "second")]
    for processes in both:
        processes.wait()
    said = [processes.said() for processes in both]
    assert sorted("there already: " in text for text in said) == [False, True]
    content = authors_hub.files(AUTHORS)[WITHOUT_TOWERS]
    assert authors_hub.log.count(f"GET /cdn/{hashlib.sha256(content).hexdigest()}") == 1
    assert len(pulled_models()) == 1


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_pull_killed_at_any_moment_is_whole_or_absent_and_the_next_one_succeeds(authors_hub, hf_home, tmp_path):
    whole = start_and_see(authors_hub, tmp_path / "undisturbed", tmp_path / "whole")
    began = time.monotonic()
    whole.wait()
    duration = time.monotonic() - began
    [expected] = [path.parent for path in (tmp_path / "undisturbed" / "ssp-sam").glob("*/pulled.json")]
    generator, unfinished = random.Random(0), 0
    for number in range(KILLS):
        home = tmp_path / f"hf-{number}"
        processes = start_and_see(authors_hub, home, tmp_path / f"killed-{number}")
        time.sleep(generator.uniform(0.0, 1.0) * duration)
        processes.kill()
        models = home / "ssp-sam"
        found = [path.parent for path in models.glob("*/pulled.json")] if models.exists() else []
        assert all(files_of(folder) == files_of(expected) for folder in found)
        unfinished += not found
        start(authors_hub, home, tmp_path / f"again-{number}").wait()
        assert files_of(models / expected.name) == files_of(expected)
        assert {path.name for path in models.iterdir()} == {".locks", expected.name}
    assert unfinished > KILLS // 4  # the moments were not all too late
