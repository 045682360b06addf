# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Exports a model, checks the export in a process without this package, and publishes it on the Hub in one commit. Sign in
first with `hf auth login`, or set HF_TOKEN.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from .export import FAULTS, add_export_options, export_arguments
from .files import InputError, one_line, told

EXAMPLE = "ssp-sam push --repo-id owner/name --dry-run"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("--repo-id", required=True, metavar="OWNER/NAME", help="repository to publish to")
    parser.add_argument("--private", action="store_true", help="create it for its owners' eyes only")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to commit to (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request in place of a commit to main")
    parser.add_argument("--message", default="Upload model", help="commit message (default: Upload model)")
    parser.add_argument("--dry-run", action="store_true", help="export, check and list the files; publish nothing")
    add_export_options(parser)


def run(options: argparse.Namespace) -> int:
    """Exports, checks and publishes; returns 0, or 1 where the Hub could not be used."""
    from ..hub.push import NotPublishedError, publish

    _check_options(options)
    push_options = {name: getattr(options, name) for name in ("private", "revision", "create_pr", "message")}
    try:
        with tempfile.TemporaryDirectory() as scratch, told(*FAULTS):
            arguments = export_arguments(options, Path(scratch))
            address = publish(
                repo_id=options.repo_id, dry_run=options.dry_run, push_options=push_options, tell=print, **arguments
            )
    except NotPublishedError as error:
        print(f"ssp-sam: {one_line(error)}", file=sys.stderr)
        return 1
    print(f"published: {address}" if address else f"dry run: nothing was published to {options.repo_id}")
    return 0


def _check_options(options: argparse.Namespace):
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if options.create_pr and options.revision is not None:
        raise InputError(f"--create-pr goes to the main branch; leave out --revision {options.revision!r}")
    if not re.fullmatch(r"[^/]+/[^/]+", options.repo_id):
        raise InputError(f"--repo-id must be owner/name, got {options.repo_id!r}")
    with told(HFValidationError):
        validate_repo_id(options.repo_id)
