# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam`: which subcommands there are, and how its faults are told."""

import argparse
import contextlib
import gc
import importlib
import io
import logging
import os
import sys
from collections.abc import Iterable, Sequence

from .. import __version__
from ..training.options import StrictParser
from .files import InputError, one_line, shortened, shown_while

# Subcommands by group, with what each does. The module of `export-onnx` is `export_onnx`; its docstring is the
# description in the help, `EXAMPLE` the end of it. It adds its options by `add_arguments(parser)` and runs by
# `run(options)`, which returns the exit code. To add options it imports the standard library alone, so that no help
# waits for torch; what the work needs it imports where the work is done.
GROUPS = {
    "use a model": {
        "pull": "fetch a model for photographs and convert it",
        "segment": "draw the mask of each expression over an image",
        "annotate": "label a whole collection of images",
        "explain": "draw the maps and word weights behind a prediction",
        "demo": "try a model in the browser",
        "info": "what is installed, for reports of faults",
    },
    "train and measure": {
        "prepare": "a benchmark or a custom dataset for training and evaluation",
        "train": "train or fine-tune a model",
        "show-data": "draw samples of a prepared benchmark",
        "cache": "compute the features of images once, to train from them",
        "evaluate": "measure a model on a benchmark, and write a report",
    },
    "publish and convert": {
        "convert": "a checkpoint of the original as a folder for from_pretrained",
        "export": "write a model as a repository for the Hub",
        "export-onnx": "write a model as ONNX graphs",
        "serve": "answer requests over HTTP, as an Inference Endpoint does",
        "push": "export, check and publish a model on the Hub",
    },
}
DESCRIPTION = "Finds in images what sentences refer to. Each COMMAND has its own --help."
COMMANDS = [name for group in GROUPS.values() for name in group]


class _Parser(StrictParser):
    """
    Reports bad usage in one line, without the whole usage before it.

    Args:
        example: a command line that works as it stands in a folder with the files it names; the end of the help.
    """

    def __init__(self, *args, example: str | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.example = example

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {shortened(message)}; see {self.prog} --help\n")

    def format_help(self) -> str:
        return super().format_help() + (f"\nexample:\n  {self.example}\n" if self.example else "")


class _MainParser(_Parser):
    """Lists the subcommands in their groups, which argparse does not know."""

    def format_help(self) -> str:
        width = max(map(len, COMMANDS))
        groups = [
            "\n".join([f"{title}:", *(f"  {name:{width}}  {what}" for name, what in group.items())])
            for title, group in GROUPS.items()
        ]
        return "\n\n".join([super().format_help().rstrip(), *groups]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs the command and returns its exit code: 0; 2 for bad usage or input; 1 for a fault of the
    program. Whatever went wrong is told in one line on standard error.

    Args:
        arguments: the words after `ssp-sam`; those of the process when not given.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and expressions are told in any encoding
            stream.reconfigure(errors="backslashreplace")
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow
        _complete()
    named = [name for name in arguments[:1] if name in COMMANDS]
    try:
        options = make_parser(named or COMMANDS).parse_args(arguments)  # imports no module of other subcommands
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        _check_working_folder()
        with shown_while("loading libraries", getattr(options, "quiet", False)):
            _register()
        with _warnings(not getattr(options, "quiet", False)):
            return options.run(options)
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":  # processes of a launch mostly meet the same fault; one of them tells it
            print(shortened(f"ssp-sam: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssp-sam: interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # a fault of the program; the user still gets one line
        print(shortened(f"ssp-sam: unexpected {type(error).__name__}: {one_line(error)}"), file=sys.stderr)
        return 1


@contextlib.contextmanager
def _warnings(shown: bool):
    """Leaves out the package's own warnings meanwhile, unless they are shown."""
    logger = logging.getLogger(__package__.partition(".")[0])
    level = logger.level
    if not shown:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _complete() -> None:
    """Tells the shell what may follow, and ends the process; nothing where argcomplete is not installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(make_parser())


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the working folder is gone; change into another one") from error


def _register():
    """Does what `import ssp_sam` does elsewhere, now that a subcommand will need it."""
    first = "transformers" not in sys.modules
    if first:  # imports make a million objects that stay; to look for garbage among them takes a fifth of the time
        gc.disable()
    from transformers import dynamic_module_utils

    from .. import registration  # noqa: F401

    if first:
        gc.freeze()
        gc.enable()
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # then transformers refuses a model's own code in place of asking


def make_parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Returns the parser of the command with the subcommands of these names."""
    parser = _MainParser(prog="ssp-sam", usage="ssp-sam COMMAND ...", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"ssp-sam {__version__}")
    commands = parser.add_subparsers(
        prog="ssp-sam", dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS, parser_class=_Parser
    )
    for name in names:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        command = commands.add_parser(name, description=module.__doc__, example=module.EXAMPLE)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
