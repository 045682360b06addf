# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fetches annotation files from repositories of the Hugging Face Hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError

from .records import PreparationError

HUB_ID = re.compile(r"[\w.-]+/[\w.+-]+", re.A)


def fetch_files(repo_id: str, patterns: Sequence[str], kinds: Sequence[str] = ("dataset",)) -> Path:
    """
    Returns the folder of the Hub's cache with those files of a repository, which may be there as one of several kinds,
    `"dataset"` or `"model"`; what is there already is not fetched again.

    Raises:
        PreparationError: There is no such repository, or it cannot be reached.
    """
    for kind in kinds:
        try:
            return Path(snapshot_download(repo_id, repo_type=kind, allow_patterns=list(patterns)))
        except RepositoryNotFoundError as error:
            reason = str(error)
        except Exception as error:  # the Hub's client raises errors of many libraries
            reason = str(error).strip() or type(error).__name__
            break
    raise PreparationError(f"cannot fetch {repo_id!r} from the Hub ({reason.strip().splitlines()[0]})")


def list_files(repo_id: str, kinds: Sequence[str]) -> list[str]:
    """Returns the names of a repository's files; none where they cannot be asked for."""
    for kind in kinds:
        try:
            return HfApi().list_repo_files(repo_id, repo_type=kind)
        except Exception:  # whatever the reason, the caller has a sentence without them
            continue
    return []
