# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Labelling a folder by one process and by two, and a server with 200 clients at once, as works that are measured."""

import base64
import http.client
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.deployment.batching import BatchedPredictor
from ssp_sam.deployment.endpoint_server import EndpointServer, load_handler

from .works import Work, program, write_photograph

IMAGES, CLIENTS, DISTINCT = 256, 200, 40
EXPRESSIONS = ("the red car", "the dog", "everything")
MAIN = "import sys; sys.argv[0] = 'ssp-sam'; from ssp_sam.cli.main import main; sys.exit(main())"
LAUNCH = "from accelerate.commands.accelerate_cli import main; main()"


def labelling(folder: Path, device: str) -> Iterator[Work]:
    """The embedded model over photographs, without the loading of libraries and model."""
    (folder / "images").mkdir()
    for number in range(IMAGES):
        write_photograph(folder / "images" / f"{number:03d}.jpg", 640, 480)
    words = ["annotate", "images", "--classes", *EXPRESSIONS, "--output", "out", "--shard-size", "32"]
    launch = ["launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend"]
    launch += ["no", "--cpu" if device == "cpu" else "--multi_gpu", "-m", "ssp_sam.cli.main"]
    what = f"`ssp-sam annotate`, {IMAGES} photographs, {len(EXPRESSIONS)} expressions"
    for name, run in (
        (f"{what}, 1 process", program(folder, MAIN, *words, "--device", device)),
        ("the same, 2 processes", program(folder, LAUNCH, *launch, *words)),
    ):
        yield Work(name, lambda run=run: _anew(folder / "out", run), tells_time=True)


def _anew(output: Path, run: Callable[[], Any]) -> float:
    """Runs the command without what it has done before, and returns the seconds of its own summary."""
    shutil.rmtree(output, ignore_errors=True)
    images, rate = re.search(rb"this run: (\d+) images, ([\d.]+) a second", run().stdout).groups()
    return int(images) / float(rate)


def serving(folder: Path, device: str) -> Iterator[Work]:
    """200 clients at once, each with one expression: one pass each, passes together, and about one image."""
    photographs = []
    for number in range(DISTINCT):
        path = folder / f"{number}.jpg"
        write_photograph(path, 320 + number, 240)
        photographs.append(base64.b64encode(path.read_bytes()).decode())
    bodies = [
        json.dumps({"inputs": {"image": photographs[number % DISTINCT], "text": EXPRESSIONS[number % 3]}})
        for number in range(CLIENTS)
    ]
    same = [json.dumps({"inputs": {"image": photographs[0], "text": EXPRESSIONS[n % 3]}}) for n in range(CLIENTS)]
    ways = (
        (f"{CLIENTS} clients at once, {DISTINCT} images, a pass for each", bodies, None),
        ("the same, passes of 8", bodies, {"max_batch": 8, "cached_images": 1}),
        (f"the same, passes of 8, {DISTINCT} images kept", bodies, {"max_batch": 8, "cached_images": DISTINCT}),
        (f"{CLIENTS} clients at once, 1 image, passes of 8, it is kept", same, {"max_batch": 8}),
    )
    for name, asked, options in ways:
        yield Work(name, lambda asked=asked, options=options: serve(device, asked, options), tells_time=True)


def serve(device: str, bodies: list[str], batching: dict[str, int] | None) -> float:
    """Lets all clients ask a silent server at once; returns how long that took, and fails unless all were answered."""
    logging.disable(logging.WARNING)
    handler = load_handler(str(EMBEDDED_CHECKPOINT))
    handler.pipeline.model.to(device)
    handler.pipeline.device = handler.pipeline.model.device
    batched = None
    if batching is not None:
        batched = BatchedPredictor(handler.pipeline, **batching)
    with EndpointServer(("127.0.0.1", 0), handler, batching=batched) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with ThreadPoolExecutor(len(bodies)) as pool:
            start = time.perf_counter()
            codes = list(pool.map(lambda body: _status(server, body), bodies))
            seconds = time.perf_counter() - start
        server.shutdown()
        thread.join()
    if set(codes) != {200}:
        raise RuntimeError(f"expected 200 for all {len(bodies)} clients, got {sorted(set(codes))}")
    return seconds


def _status(server: EndpointServer, body: str) -> int:
    connection = http.client.HTTPConnection(*server.server_address, timeout=600)
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status
