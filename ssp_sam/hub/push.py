# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Publishes a model on the Hub: exported, checked, and pushed in one commit."""

import dataclasses
import fnmatch
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from ..modeling_ssp_sam.conversion.checkpoint_sources import HUB_SECONDS, PullError, UnreachableError, hub_errors
from .card import ModelFacts
from .check import check_export
from .export import export_model, file_tree
from .samples import Sample

# What an earlier export may have left in the repository and this one no longer has.
EXPORTED_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.py", "samples/*")


class NotPublishedError(Exception):
    """A model was exported and checked, but the Hub refused it or could not be reached."""


def publish(
    source: str | os.PathLike,
    repo_id: str,
    *,
    facts: ModelFacts | None = None,
    samples: Sequence[Sample] = (),
    dry_run: bool = False,
    push_options: dict[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
    **export_options: Any,
) -> str | None:
    """
    Exports a model into a temporary folder, checks the export in a process without this package, and pushes it.

    Args:
        source: folder or Hub id of the model.
        repo_id: owner/name of the repository to publish to.
        facts, samples: as of [`export_model`].
        dry_run: whether to stop before anything is pushed.
        push_options: further arguments of [`push_export`].
        tell: called with what there is to say after each step.
        export_options: further arguments of [`export_model`].

    Returns:
        The address of the commit or the pull request; `None` after a dry run.

    Raises:
        OSError, ValueError: If the model cannot be exported, or its export does not predict as the model does.
        NotPublishedError: If the Hub refuses it, or cannot be reached.
    """
    facts = dataclasses.replace(facts or ModelFacts(), repo_id=repo_id)
    if not dry_run:
        _ask_for(repo_id)  # before minutes of exporting
    with tempfile.TemporaryDirectory() as scratch:
        folder = export_model(
            source, Path(scratch) / repo_id.split("/")[-1], facts=facts, samples=samples, **export_options
        )
        tell(file_tree(folder))
        tell(check_export(folder, source, samples))
        if dry_run:
            return None
        try:
            return push_export(folder, repo_id, **(push_options or {}))
        except (OSError, ValueError, HTTPError, HfHubHTTPError, OfflineModeIsEnabled) as error:
            raise NotPublishedError(f"{repo_id} was not published: {error}") from error


def _ask_for(repo_id: str):
    """Raises a `NotPublishedError` if the Hub cannot be reached; there need not be such a repository yet."""
    try:
        with hub_errors(repo_id):
            HfApi().model_info(repo_id, timeout=HUB_SECONDS)
    except UnreachableError as error:
        raise NotPublishedError(f"{repo_id} was not published: {error}") from error
    except PullError:
        pass


def push_export(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = "Upload model",
    api: HfApi | None = None,
) -> str:
    """
    Publishes an exported folder, which must have been checked, and compares what the Hub then holds with it.

    Everything is one commit: nobody ever loads half of a new version. Files of an earlier export that this one does not
    have are deleted in it; other files of the repository stay.

    Args:
        folder: the export.
        repo_id: owner/name. Created where it does not exist, except for a pull request.
        private: whether only its owners may see it. A repository that is public already is refused.
        revision: branch to commit to, created where it does not exist.
        create_pr: whether to open a pull request in place of a commit.
        message: of the commit.
        api: the Hub to publish on; the one of the environment when not given.

    Returns:
        The address of the commit or the pull request.

    Raises:
        ValueError: If options contradict each other or the repository, or the Hub holds something else afterwards.
        huggingface_hub.errors.HfHubHTTPError: If the Hub refuses.
    """
    if create_pr and revision is not None:
        raise ValueError(f"a pull request goes to the main branch: leave out the revision {revision!r}")
    folder = Path(folder)
    api = HfApi() if api is None else api
    if not create_pr:
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise ValueError(f"{repo_id} is public already: make it private on the Hub first, or leave out private")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    present = api.list_repo_files(repo_id, revision=revision)
    stale = [name for name in present if name not in files and _is_exported(name)]
    commit = api.create_commit(
        repo_id,
        operations=[
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files),
            *(CommitOperationDelete(path_in_repo=name) for name in stale),
        ],
        commit_message=message,
        revision=revision,
        create_pr=create_pr,
    )
    _compare(api, folder, repo_id, commit.oid)
    return (commit.pr_url if create_pr else commit.commit_url) or commit.commit_url


def _is_exported(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in EXPORTED_PATTERNS)


def _compare(api: HfApi, folder: Path, repo_id: str, revision: str):
    """Raises if the Hub's checksums of the files are not those of the folder."""
    outcome = api.verify_repo_checksums(repo_id, revision=revision, local_dir=folder)
    wrong = [mismatch["path"] for mismatch in outcome.mismatches] + list(outcome.extra_paths)
    if wrong:
        raise ValueError(
            f"{repo_id} does not hold what was pushed, but other content of {', '.join(wrong)}; push again"
        )
