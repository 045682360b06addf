# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam serve`: answers requests over HTTP as a Hugging Face Inference Endpoint would."""

import argparse
import contextlib
from pathlib import Path

from .files import InputError, one_line, port
from .model import ADAPTER_HELP, find_model, read_config


def add_parser(commands):
    """Adds the subcommand to those of `ssp-sam`."""
    parser = commands.add_parser(
        "serve",
        description="Serves a model folder over HTTP as a Hugging Face Inference Endpoint would, to try requests on "
        "one's own machine. Only this machine can reach it, unless --host says otherwise.",
        example="ssp-sam serve --port 8080",
    )
    parser.add_argument("model", nargs="?", metavar="DIR", help="folder of a model (default: the embedded one)")
    parser.add_argument("--adapter", metavar="DIR", help=ADAPTER_HELP)
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the folder's own handler.py and code, if it has some",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=port, default=8080, metavar="PORT", help="port to listen on (8080)")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web page that may ask from a browser, such as https://example.org, or * for any; may be repeated "
        "(default: none)",
    )
    parser.add_argument(
        "--max-waiting",
        type=int,
        default=256,
        metavar="N",
        help="requests that may be here at once; others get status 503 (256)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serves the model until it is interrupted; returns 0."""
    try:
        from ..deployment.endpoint_server import EndpointServer, load_handler
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}, which is not installed: pip install ssp-sam[serve]") from error
    folder = find_model(options.model, options.adapter)
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"expected the folder of a model, got {folder!r}, which has no config.json")
    if not options.trust_remote_code:
        read_config(folder)
    try:
        handler = load_handler(folder, options.trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot load {folder!r}: {one_line(error)}") from error
    try:
        server = EndpointServer((options.host, options.port), handler, options.allow_origin, options.max_waiting)
    except OSError as error:
        raise InputError(f"cannot listen on {options.host}:{options.port}: {one_line(error)}") from error
    print(f"Serving {folder} at {server.url}; stop with Ctrl-C", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0
