# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Serves a model folder over HTTP as a Hugging Face Inference Endpoint would, to try requests on one's own machine. Only
this machine can reach it, unless --host says otherwise.
"""

import argparse
import contextlib
import re
from pathlib import Path

from .files import InputError, port, told
from .model import ADAPTER_HELP, MODEL_HELP, find_model, read_config

EXAMPLE = "ssp-sam serve --port 8080"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    parser.add_argument("model", nargs="?", metavar="DIR", help="folder of a model (default: the embedded one)")
    parser.add_argument("--model", dest="named", metavar="MODEL", help=f"in place of DIR: {MODEL_HELP}")
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
        help="requests that may be here at once; others get status 429 (256)",
    )
    parser.add_argument(
        "--batch-window", type=float, default=5, metavar="MS", help="milliseconds to wait for others to join a pass (5)"
    )
    parser.add_argument(
        "--max-batch", type=int, default=8, metavar="N", help="most requests in one pass, 1 for none (8)"
    )
    parser.add_argument("--cached-images", type=int, default=32, metavar="N", help="encoded images that are kept (32)")


def run(options: argparse.Namespace) -> int:
    """Serves the model until it is interrupted; returns 0."""
    for name, least in (("batch_window", 0), ("max_batch", 1), ("cached_images", 1)):
        if not getattr(options, name) >= least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(options, name)}")
    for origin in options.allow_origin:
        if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
            raise InputError(f"--allow-origin must be * or such as https://example.org, got {origin!r}")
    if None not in (options.model, options.named):
        raise InputError(f"expected one model, got {options.model!r} and --model {options.named!r}")
    try:
        from ..deployment.batching import BatchedPredictor
        from ..deployment.endpoint_server import EndpointServer, load_handler
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}, which is not installed: pip install ssp-sam[serve]") from error
    folder = find_model(options.model or options.named, options.adapter)
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"expected the folder of a model, got {folder!r}, which has no config.json")
    if not options.trust_remote_code:
        read_config(folder)
    with told(about=f"cannot load {folder!r}: "):
        handler = load_handler(folder, options.trust_remote_code)
    with told(OSError, about=f"cannot listen on {options.host}:{options.port}: "):
        batching = None
        if hasattr(handler, "predict"):  # one of a folder's own code may have none
            sizes = (options.batch_window, options.max_batch, options.cached_images)
            batching = BatchedPredictor(handler.pipeline, *sizes)
        address = (options.host, options.port)
        server = EndpointServer(address, handler, options.allow_origin, options.max_waiting, batching)
    print(f"Serving {folder} at {server.url}; stop with Ctrl-C", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0
