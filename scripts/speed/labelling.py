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

from ssp_sam import EMBEDDED_CHECKPOINT, ReferringSegmentationPipeline, SspSamProcessor, pipeline
from ssp_sam.annotation.items import Item, Question
from ssp_sam.annotation.labelling import Labelled, Labeller
from ssp_sam.annotation.shards import open_shard, rows_of

from .works import COMMAND, ROOT, Work, default_model, half, program, write_photograph

IMAGES, CLIENTS, DISTINCT = 256, 200, 40
EXPRESSIONS = ("the red car", "the dog", "everything")
TWO_PROCESSES = ROOT / "training/accelerate_configs/two_cpu_processes.yaml"
LAUNCH = "from accelerate.commands.accelerate_cli import main; main()"


def stages(folder: Path, device: str) -> Iterator[Work]:
    """
    What each stage of labelling costs for a batch of photographs, with a model of the default size and random weights.

    Their masks are those of the embedded checkpoint's, since those of random weights are noise.
    """
    number, count = (8 if device == "cuda" else 1), len(EXPRESSIONS)
    write_photograph(folder / "photo.jpg", 640, 480)
    questions = [Question(expression, "", f"0-{index}") for index, expression in enumerate(EXPRESSIONS)]
    items = [Item(str(index), str(folder / "photo.jpg"), questions, "photographs") for index in range(number)]
    known = Labeller(pipeline(device=device))
    default = default_model(device)
    processor = SspSamProcessor.from_model_config(default.config, known.segmenter.processor.tokenizer)
    what = f"{number} photograph{'s' * (number > 1)}"
    models = {"float32": default, **({"bfloat16": half(default)} if device == "cuda" else {})}
    for dtype, model in models.items():
        labeller = Labeller(ReferringSegmentationPipeline(model, processor=processor, device=device))
        prepared = labeller.prepare(items)
        if dtype == "float32":
            yield Work(f"decode, resize and tokenise {what}", lambda a=labeller: a.prepare(items))
        yield Work(f"compute {what}, {count} expressions each, {dtype}", lambda a=labeller, b=prepared: a.predict(b))
    predicted = known.predict(known.prepare(items))
    labelled = known.read(predicted)
    yield Work(f"read and encode {number * count} masks", lambda: known.read(predicted))
    yield Work(f"write {number * count} rows, {what} stored in them", lambda: _write(folder, labelled))


def _write(folder: Path, labelled: list[Labelled]):
    content = (folder / "photo.jpg").read_bytes()
    with open_shard(folder / "out", "train-00000-of-00001.parquet", False) as writer:
        for item, image, found in labelled:
            item.image = {"bytes": content, "path": None}
            writer.add(rows_of(item, found, split="train", fingerprint="", size_hw=[480, 640]), image)


def labelling(folder: Path, device: str) -> Iterator[Work]:
    """The embedded model over photographs, without the loading of libraries and model."""
    (folder / "images").mkdir()
    for number in range(IMAGES):
        write_photograph(folder / "images" / f"{number:03d}.jpg", 640, 480)
    words = ["annotate", "images", "--classes", *EXPRESSIONS, "--output", "out", "--shard-size", "32"]
    launch = ["launch", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend"]
    launch += ["no", "--multi_gpu", "-m", "ssp_sam.cli.main"]
    if device == "cpu":  # options alone start one process there
        launch = ["launch", "--config_file", str(TWO_PROCESSES), "-m", "ssp_sam.cli.main"]
    what = f"`ssp-sam annotate`, {IMAGES} photographs, {len(EXPRESSIONS)} expressions"
    for name, run in (
        (f"{what}, 1 process", program(folder, COMMAND, *words, "--device", device)),
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
        yield Work(name, lambda asked=asked, options=options: serve(device, asked, options), device != "cpu")


def serve(device: str, bodies: list[str], batching: dict[str, int] | None) -> float:
    """Lets all clients ask a silent server at once; returns how long that took, and fails unless all were answered."""
    from ssp_sam.deployment.batching import BatchedPredictor  # where it is installed what serves
    from ssp_sam.deployment.endpoint_server import EndpointServer, load_handler

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


def _status(server, body: str) -> int:
    connection = http.client.HTTPConnection(*server.server_address, timeout=600)
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status
