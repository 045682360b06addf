# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Serves a page on which images are dropped, expressions written and predictions corrected by clicks. Only this machine
can reach it, unless --host says otherwise. Needs gradio: pip install ssp-sam[demo]
"""

import argparse
import contextlib
import os
import signal

from .files import port, told
from .model import add_model_options, load_pipeline

EXAMPLE = "ssp-sam demo"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds what the command takes."""
    add_model_options(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=port, metavar="PORT", help="port to listen on (the first free from 7860 on)")
    parser.add_argument("--open", action="store_true", help="also open the page in the browser")


def run(options: argparse.Namespace) -> int:
    """Serves the page until it is interrupted; returns 0."""
    from ..demo.app import build_demo, import_gradio, launch_demo  # gradio takes seconds to import

    with told(ImportError):
        import_gradio()
    # A request to end is heard as Ctrl-C is, which removes visitors' files.
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    umask = os.umask(0o077)  # which are nobody else's meanwhile
    try:
        page = build_demo(load_pipeline(options))
        with told(OSError, about=f"cannot serve on {options.host}:{options.port or '7860 to 7959'}: "):
            address = launch_demo(
                page, options.host, options.port, inbrowser=options.open, quiet=True, prevent_thread_lock=True
            )
        print(f"Open {address} in a browser; stop with Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            page.block_thread()
        page.close(verbose=False)
    finally:
        os.umask(umask)
        signal.signal(signal.SIGTERM, handler)
    return 0
