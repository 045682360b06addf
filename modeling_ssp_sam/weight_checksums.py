# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Whether weight files hold what an exported model repository says they hold.

A download is compared with nothing but its length by huggingface_hub, and a damaged number is a number all the same.
"""

import hashlib
import json
import os

from transformers.utils import cached_file

HUB_OPTIONS = ("cache_dir", "revision", "token", "local_files_only", "subfolder")


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(source: str | os.PathLike, **options):
    """
    Compares the weight files of a model with the checksums in its `config.json`, where the exporter has written them.

    Args:
        source (`str` or `os.PathLike`): The folder or Hub id that the model has been loaded from.
        options: Those of `from_pretrained`, so that the same revision and cache are read.

    Raises:
        OSError: If a file is missing or holds something else.
    """
    options = {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}
    config_file = cached_file(source, "config.json", **options, _raise_exceptions_for_missing_entries=False)
    if config_file is None:
        return
    with open(config_file, encoding="utf-8") as file:
        checksums = json.load(file).get("weights_sha256", {})
    for name, expected in checksums.items():
        # Loading has put all weights into the cache, so none are fetched here.
        found = file_sha256(cached_file(source, name, **options))
        if found != expected:
            raise OSError(
                f"{name} of {os.fspath(source)!r} does not hold the weights that were exported: SHA-256 {found}, "
                f"expected {expected}; fetch it again (force_download=True), and if it stays so, do not use it"
            )
