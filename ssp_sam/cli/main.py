# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam`: which subcommands there are, and how its faults are told."""

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from . import demo as cli_demo
from . import explain as cli_explain
from . import export as cli_export
from . import export_onnx as cli_export_onnx
from . import segment as cli_segment
from . import show_data as cli_show_data
from .files import InputError, one_line

# Each module adds its parser by `add_parser(commands)` and runs by `run(options)`, which returns the exit code.
COMMANDS = (cli_segment, cli_explain, cli_demo, cli_export, cli_export_onnx, cli_show_data)


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line, without the whole usage before it."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs the command and returns its exit code: 0; 2 for bad usage or input; 1 for a fault of the
    program. Whatever went wrong is told in one line on standard error.

    Args:
        arguments: the words after `ssp-sam`; those of the process when not given.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return options.run(options)
    except InputError as error:
        print(f"ssp-sam: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssp-sam: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # a fault of the program; the user still gets one line
        print(f"ssp-sam: unexpected {type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ssp-sam", description="Finds in images what sentences refer to.")
    parser.add_argument("--version", action="version", version=f"ssp-sam {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
