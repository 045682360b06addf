# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Sends the folder of a finished model to the Hub."""

from pathlib import Path

from huggingface_hub import HfApi


def publish(folder: str | Path, repo_id: str, *, private: bool = False) -> str:
    """
    Uploads a model folder, making its repository where there is none.

    Args:
        folder: What a finished run left.
        repo_id: Name, or owner/name.
        private: Whether a new repository is private.

    Returns:
        The address of the repository.
    """
    api = HfApi()
    repository = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(folder_path=folder, repo_id=repository.repo_id, commit_message="Upload a trained SSP-SAM")
    return str(repository)
