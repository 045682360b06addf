# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Serves a model folder over HTTP as a Hugging Face Inference Endpoint would, on FastAPI and uvicorn."""

import asyncio
import importlib.util
import json
import logging
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from .batching import BatchedPredictor
from .endpoint_handler import TEXT_NAMES, EndpointHandler

MAX_BODY_BYTES = 64 * 2**20
# Bodies of requests that wait are held in memory, so they are limited together, too.
MAX_WAITING_BYTES = 8 * MAX_BODY_BYTES
# While the model works on one request another is decoded or encoded; more would only hold more images.
RUNNING = 2
MOST_RUNNING = 32  # of the threads in which handlers run
BODY_SECONDS, WAITING_SECONDS, SHUTDOWN_SECONDS = 60, 120, 30

logger = logging.getLogger("uvicorn.error")  # its lines are printed


class EndpointServer:
    """
    Hands requests to a handler, a few at a time, and lets a limited number of others wait.

    POST to / or /predict takes JSON, or an image as it is with parameters in the query of the URL. GET of / or /health
    says "Ok", GET of /metrics what was done, as Prometheus reads it. Every error is `{"error": sentence}`: status 400
    for wrong requests, 413 for too large ones, 408 for too slow ones, 429 where too many wait, 503 for those that have
    waited too long, 500 for faults of the handler. Requests of clients that went away are not handed over.

    Args:
        address: host and port, 0 for any free port.
        handler: turns the data of a request into something for JSON; raises ValueError for a wrong request.
        allowed_origins: origins of web pages that may ask, such as `https://example.org`; `*` for all.
        max_waiting: requests that may be here at once.
        batching: what predicts for a handler that has `predict`, for several requests in one pass; None for one pass
            each.

    Raises:
        OSError: If the address cannot be listened on.
    """

    def __init__(
        self,
        address: tuple[str, int],
        handler: Callable[[dict[str, Any]], Any],
        allowed_origins: Sequence[str] = (),
        max_waiting: int = 256,
        batching: BatchedPredictor | None = None,
    ):
        self.handler, self.batching = handler, batching
        running = RUNNING
        if batching is not None:
            handler.predict = batching  # pyright: ignore[reportFunctionMemberAccess]
            running = min(max(RUNNING, 2 * batching.max_batch), MOST_RUNNING)
        self.max_waiting = max_waiting
        self._waiting = self._waiting_bytes = 0
        self._slots = asyncio.Semaphore(running)
        self._served: Counter[int] = Counter()
        self._seconds = 0.0
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=512)
        app = FastAPI(
            openapi_url=None,
            routes=[
                Route("/", self._health),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/", self._post, methods=["POST"]),
                Route("/predict", self._post, methods=["POST"]),
                *(Route(path, self._options, methods=["OPTIONS"]) for path in ("/", "/predict")),
            ],
            exception_handlers={StarletteHTTPException: self._refuse},
        )
        if allowed_origins:
            app.add_middleware(CORSMiddleware, allow_origins=allowed_origins, allow_methods="*", allow_headers="*")
        config = uvicorn.Config(app, timeout_graceful_shutdown=SHUTDOWN_SECONDS, server_header=False, lifespan="off")
        self._server = uvicorn.Server(config)

    @property
    def server_address(self) -> tuple[str, int]:
        """Host and port."""
        return self._socket.getsockname()[:2]

    @property
    def url(self) -> str:
        host, port = self.server_address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve_forever(self):
        """Serves until `shutdown` or a signal to end; requests that are here by then are still answered."""
        self._server.run(sockets=[self._socket])

    def shutdown(self):
        """Makes `serve_forever` return."""
        self._server.should_exit = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    # ---- what is asked for ------------------------------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("Ok")

    async def _options(self, request: Request) -> Response:
        return Response(status_code=204, headers={"Allow": "GET, HEAD, POST, OPTIONS"})

    async def _metrics(self, request: Request) -> Response:
        lines = ["# TYPE ssp_sam_requests_total counter"]
        lines += [f'ssp_sam_requests_total{{status="{status}"}} {count}' for status, count in self._served.items()]
        lines += ["# TYPE ssp_sam_requests_waiting gauge", f"ssp_sam_requests_waiting {self._waiting}"]
        lines += ["# TYPE ssp_sam_handler_seconds_total counter", f"ssp_sam_handler_seconds_total {self._seconds:.3f}"]
        for name, count in (self.batching.totals() if self.batching is not None else {}).items():
            lines += [f"# TYPE ssp_sam_{name}_total counter", f"ssp_sam_{name}_total {count}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def _refuse(self, request: Request, error: StarletteHTTPException) -> Response:
        sentence = error.detail
        if error.status_code in (404, 405):
            sentence = f"nothing for {request.method} at {request.url.path!r}; POST to /"
        self._served[error.status_code] += 1
        return JSONResponse({"error": sentence}, error.status_code, error.headers)

    async def _post(self, request: Request) -> Response:
        length = request.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise HTTPException(
                413, f"expected a Content-Length of at most {MAX_BODY_BYTES} bytes, got {length or 'none'}"
            )
        if self._waiting >= self.max_waiting or self._waiting_bytes + int(length) > MAX_WAITING_BYTES:
            raise HTTPException(429, "too many requests are waiting; try again later", {"Retry-After": "5"})
        self._waiting += 1
        self._waiting_bytes += int(length)
        try:
            return await self._take_turn(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # which nobody receives
        finally:
            self._waiting -= 1
            self._waiting_bytes -= int(length)

    async def _take_turn(self, request: Request) -> Response:
        """Reads the body, waits until it is this request's turn, and answers it."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.body()
        except TimeoutError as error:
            raise HTTPException(408, f"expected the whole request within {BODY_SECONDS} s") from error
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise HTTPException(503, "other requests took too long; try again later", {"Retry-After": "60"}) from error
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            start = time.perf_counter()
            response = await run_in_threadpool(self._answer, request, body)
            self._seconds += time.perf_counter() - start
        finally:
            self._slots.release()
        self._served[response.status_code] += 1
        return response

    def _answer(self, request: Request, body: bytes) -> Response:
        try:
            kind = request.headers.get("Content-Type", "application/octet-stream")
            return JSONResponse(self.handler(_read(body, kind, parameters_of(request.url.query))))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except Exception:
            logger.error(_printable(traceback.format_exc()))
            return JSONResponse({"error": "the model failed on this request"}, 500)


def _read(body: bytes, kind: str, query: dict[str, Any]) -> dict[str, Any]:
    """The data of a request, from its body of some Content-Type and the parameters in its query."""
    kind = kind.split(";")[0].strip().lower()
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


def _printable(text: str) -> str:
    """A text for the log, with control characters as their numbers."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; one in which a name stands twice would lose the first value."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice in it")
    return content


def parameters_of(query: str) -> dict[str, Any]:
    """
    Returns the parameters in the query of a URL, where a repeated `text` is a list of expressions; raises `ValueError`
    where another name is repeated with different values, or a value is no UTF-8.
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
