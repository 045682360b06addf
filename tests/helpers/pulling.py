# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pulling in this process or in one of its own, from a Hub on this machine into a folder of the test."""

from pathlib import Path

import huggingface_hub
import pytest
import transformers
from huggingface_hub import constants

from ssp_sam.cli.main import main


def use_home(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a folder the `HF_HOME` of this process."""
    monkeypatch.setattr(constants, "HF_HOME", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))


def use_hub(url: str, monkeypatch: pytest.MonkeyPatch):
    """Makes the server at an address the Hub of this process; plain LFS, since it speaks no Xet."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # keeps the address it was made with
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)


def pull_in_process(words: list[str]) -> int:
    """`ssp-sam pull` for `start_processes`: the address of the Hub, `HF_HOME`, and the words of the command."""
    url, home, *words = words
    monkeypatch = pytest.MonkeyPatch()
    use_home(Path(home), monkeypatch)
    use_hub(url, monkeypatch)
    return main(["pull", *words])
