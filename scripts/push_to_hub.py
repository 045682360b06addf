# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Exports a model, checks the export in a process without this package, and publishes it on the Hub.

    python scripts/push_to_hub.py --repo-id owner/name --model outputs/run/final --report report.json --dry-run
    python scripts/push_to_hub.py --repo-id owner/name --model outputs/run/final --report report.json --private

Sign in first with `hf auth login`, or set HF_TOKEN.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ssp_sam.cli.export import add_export_options, check_from_options, export_from_options, file_tree
from ssp_sam.cli.files import InputError, one_line
from ssp_sam.cli.model import find_model
from ssp_sam.hub.push import push_export


def main(arguments: list[str] | None = None) -> int:
    """Runs the script; returns 0, 2 for bad usage or input, 1 where the Hub could not be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo-id", required=True, metavar="OWNER/NAME", help="repository to publish to")
    parser.add_argument("--private", action="store_true", help="create it for its owners' eyes only")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to commit to (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request in place of a commit to main")
    parser.add_argument("--message", default="Upload model", help="commit message")
    parser.add_argument("--dry-run", action="store_true", help="export, check and list the files; publish nothing")
    add_export_options(parser)
    options = parser.parse_args(arguments)
    try:
        return publish(options)
    except InputError as error:
        print(f"push_to_hub: {error}", file=sys.stderr)
        return 2
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled, ValueError) as error:
        print(f"push_to_hub: {options.repo_id} was not published: {one_line(error)}", file=sys.stderr)
        return 1


def publish(options: argparse.Namespace) -> int:
    """Exports into a temporary folder, checks it there, and publishes it unless it is a dry run."""
    if options.create_pr and options.revision is not None:
        raise InputError(f"--create-pr goes to the main branch; leave out --revision {options.revision!r}")
    try:
        validate_repo_id(options.repo_id)
    except HFValidationError as error:
        raise InputError(one_line(error)) from error
    if not re.fullmatch(r"[^/]+/[^/]+", options.repo_id):
        raise InputError(f"--repo-id must be owner/name, got {options.repo_id!r}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / options.repo_id.split("/")[1]
        samples = export_from_options(options, folder, repo_id=options.repo_id)
        print(file_tree(folder))
        print(check_from_options(folder, find_model(options.model), samples))
        if options.dry_run:
            print(f"dry run: nothing was published to {options.repo_id}")
            return 0
        address = push_export(
            folder,
            options.repo_id,
            private=options.private,
            revision=options.revision,
            create_pr=options.create_pr,
            message=options.message,
        )
    print(f"published: {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
