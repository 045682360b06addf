# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pulling by several processes, and by processes that are killed: whole or absent, and done once."""

import hashlib
from pathlib import Path

import pytest

from ssp_sam.modeling_ssp_sam.conversion.pulled_models import pulled_models
from tests.helpers.authors_repository import AUTHORS, WITHOUT_TOWERS
from tests.helpers.faults import changes_of, end_of, start_in_trouble
from tests.helpers.kill_table import count_kills
from tests.helpers.processes import start_processes
from tests.helpers.pulling import pull_in_process


def files_of(folder: Path) -> dict[str, str]:
    """The checksums of a model's files, but for the record, which holds the time."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "pulled.json"
    }


def start(hub, home: Path, folder: Path):
    return start_processes(pull_in_process, [hub.url, home, f"{AUTHORS}:{WITHOUT_TOWERS}"], folder)


def test_two_processes_at_once_fetch_and_convert_once(authors_hub, hf_home, tmp_path):
    both = [start(authors_hub, hf_home, tmp_path / name) for name in ("first", "second")]
    for processes in both:
        processes.wait()
    said = [processes.said() for processes in both]
    assert sorted("there already: " in text for text in said) == [False, True]
    content = authors_hub.files(AUTHORS)[WITHOUT_TOWERS]
    assert authors_hub.log.count(f"GET /cdn/{hashlib.sha256(content).hexdigest()}") == 1
    assert len(pulled_models()) == 1


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_a_pull_killed_at_any_change_is_whole_or_absent_and_the_next_one_succeeds(authors_hub, tmp_path, kills):
    def start_watched(name: str, **trouble):
        words = [authors_hub.url, tmp_path / name, f"{AUTHORS}:{WITHOUT_TOWERS}"]
        trouble |= {"watched": tmp_path / name / "ssp-sam"}  # what is fetched is the Hub's library's affair
        return start_in_trouble(pull_in_process, words, tmp_path / f"{name} said", **trouble)

    changes = changes_of(start_watched("undisturbed"))
    [expected] = [path.parent for path in (tmp_path / "undisturbed" / "ssp-sam").glob("[!.]*/pulled.json")]
    died = 0
    for number in range(kills):
        home, models = f"hf-{number}", tmp_path / f"hf-{number}" / "ssp-sam"
        died += end_of(start_watched(home, die_at=1 + (number + 1) * (changes - 1) // (kills + 1))) < 0
        assert died > 0
        found = [path.parent for path in models.glob("[!.]*/pulled.json")]
        assert all(files_of(folder) == files_of(expected) for folder in found)
        assert end_of(start_watched(home)) == 0
        assert files_of(models / expected.name) == files_of(expected)
        assert [path.name for path in models.iterdir()] == [expected.name]
    if kills > 1:
        count_kills("pull", kills, died)
