# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Serves a model folder over HTTP as a Hugging Face Inference Endpoint would, to try requests on one's own machine."""

import importlib.util
import json
import sys
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .endpoint_handler import TEXT_NAMES, EndpointHandler

MAX_BODY_BYTES = 64 * 2**20


class EndpointServer(ThreadingHTTPServer):
    """
    Hands each request to a handler in a thread of its own.

    POST to / or /predict takes JSON, or an image as it is with parameters in the query of the URL. GET of / or /health
    says "Ok". Wrong requests get status 400 and `{"error": sentence}`, faults of the handler 500.

    Args:
        address: host and port, 0 for any free port.
        handler: turns the data of a request into something for JSON; raises ValueError for a wrong request.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Callable[[dict[str, Any]], Any]):
        self.handler = handler
        super().__init__(address, _Exchange)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: EndpointServer

    def do_GET(self):
        if urlsplit(self.path).path in ("/", "/health"):
            self._send(200, b"Ok", "text/plain")
        else:
            self._fail(404, f"nothing at {self.path!r}; POST to /")

    def do_POST(self):
        address = urlsplit(self.path)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True  # the body is left unread
            self._fail(413, f"expected a Content-Length of at most {MAX_BODY_BYTES} bytes, got {length or 'none'}")
            return
        body = self.rfile.read(int(length))
        if address.path not in ("/", "/predict"):
            self._fail(404, f"nothing at {address.path!r}; POST to /")
            return
        try:
            data = self._read(body, parameters_of(address.query))
            content = json.dumps(self.server.handler(data), allow_nan=False).encode()
        except ValueError as error:
            self._fail(400, str(error))
        except Exception:
            traceback.print_exc()
            self._fail(500, "the model failed on this request")
        else:
            self._send(200, content, "application/json")

    def _read(self, body: bytes, query: dict[str, Any]) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "application/octet-stream").split(";")[0].strip().lower()
        if kind == "application/json":
            try:
                data = json.loads(body, object_pairs_hook=_without_repetition)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"the body is not JSON ({error})") from error
            if not isinstance(data, dict) or "inputs" not in data:
                raise ValueError("expected a JSON object with 'inputs'")
        elif kind == "application/octet-stream" or kind.startswith("image/"):
            data = {"inputs": body}
        else:
            raise ValueError(f"expected a Content-Type of application/json or image/*, got {kind!r}")
        repeated = sorted(set(query) & set(data))
        if repeated:
            raise ValueError(f"got {repeated[0]!r} in the query of the URL and in the body; send it once")
        return {**query, **data}

    def _fail(self, status: int, sentence: str):
        self._send(status, json.dumps({"error": sentence}).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; one in which a name stands twice would lose the first value."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice in it")
    return content


def parameters_of(query: str) -> dict[str, Any]:
    """
    Returns the parameters in the query of a URL. A `text` that stands there several times is a list of expressions.

    Raises:
        ValueError: If another name stands there twice with different values, or a value is no UTF-8.
    """
    parameters: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="strict"):
        if name in TEXT_NAMES and name in parameters:
            earlier = parameters[name]
            parameters[name] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        elif parameters.setdefault(name, value) != value:
            raise ValueError(f"got {name!r} twice with different values in the query; send it once")
    return parameters


def load_handler(folder: str, trust_remote_code: bool = False):
    """
    Returns the handler of a model folder.

    Args:
        folder: the folder, exported or saved.
        trust_remote_code: whether the folder's own `handler.py` and model code run, where it has some; else, and where
            it has none, those of this package do.
    """
    file = Path(folder) / "handler.py"
    if not trust_remote_code or not file.is_file():
        return EndpointHandler(folder, trust_remote_code=trust_remote_code and None)
    sys.path.insert(0, folder)  # as the server of Hugging Face does, for the files that the handler imports
    spec = importlib.util.spec_from_file_location("handler", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler"] = module
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)
