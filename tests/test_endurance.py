# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Thousands of calls in one process: memory, files and threads stay what they are, and so do the results."""

import gc
import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from ssp_sam.annotation import job
from ssp_sam.annotation.shards import open_shard
from ssp_sam.demo.session import DemoSegmenter, draw_state
from ssp_sam.deployment.endpoint_server import EndpointServer, load_handler
from tests.helpers.models import make_image, make_pipeline
from tests.ssp_sam.deployment.test_endpoint_server import request

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
CALLS, REQUESTS, INTERACTIONS, IMAGES = 10_000, 5_000, 2_000, 20_000
SPARE_BYTES = 24_000_000  # by which an allocator's habits may move; a kilobyte kept by each call would be half of it


def repeat(call: Callable[[int], object], times: int, kinds: int):
    """Calls with 0, 1, … `times`; the same number modulo `kinds` must give an equal result, and nothing may pile up."""
    process, expected = psutil.Process(), [call(number) for number in range(kinds)]
    for number in range(times // 4):  # caches fill, arenas are made
        assert call(number) == expected[number % kinds]
    gc.collect()
    before = process.memory_info().rss, process.num_fds(), process.num_threads()
    for number in range(times):
        assert call(number) == expected[number % kinds], f"call {number} differs"
    gc.collect()
    after = process.memory_info().rss, process.num_fds(), process.num_threads()
    memory, files, threads = (now - then for now, then in zip(after, before, strict=True))
    print(f"{times} calls: {memory / 1e6:+.1f} MB, {files:+d} files, {threads:+d} threads")
    assert memory < SPARE_BYTES and files <= 0 and threads <= 0


def plain(results: list[dict]) -> list:
    """Results as values that can be compared."""
    return [(found["label"], found["score"], found["box"], np.asarray(found["mask"]).tobytes()) for found in results]


@pytest.mark.parametrize("single_tower", [True, False])
def test_ten_thousand_calls_of_the_pipeline_leave_nothing_behind(single_tower):
    segmenter = make_pipeline(single_tower)
    images = [make_image(32 + 8 * number, 24 + 4 * (number % 3), seed=number) for number in range(5)]
    texts = ["a dog", ["the red car", "a dog"], "everything on the left"]

    def call(number: int):
        return plain(segmenter(images[number % 5], texts[number % 3]))

    repeat(call, CALLS // 2, kinds=15)


def test_five_thousand_requests_leave_nothing_behind(tiny_checkpoint):
    with EndpointServer(("127.0.0.1", 0), load_handler(tiny_checkpoint)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bodies = [request(text=text) for text in ("a dog", ["the red car", "a cat"])] + [b"{", request(text="")]

        def call(number: int):
            connection = http.client.HTTPConnection(*server.server_address, timeout=60)
            connection.request("POST", "/", bodies[number % 4], {"Content-Type": "application/json"})
            response = connection.getresponse()
            status, content = response.status, json.loads(response.read())
            connection.close()
            assert status == (200 if number % 4 < 2 else 400)
            return content

        repeat(call, REQUESTS, kinds=4)
        server.shutdown()


def test_annotating_twenty_thousand_images_leaves_nothing_behind(tmp_path, monkeypatch):
    for seed in range(50):
        make_image(32 + seed, 24, seed=seed).save(tmp_path / f"{seed}.png")
    used: list[int] = []

    def measured_shard(*arguments):
        gc.collect()
        used.append(psutil.Process().memory_info().rss)
        return open_shard(*arguments)

    monkeypatch.setattr(job, "open_shard", measured_shard)
    images = [tmp_path / f"{number % 50}.png" for number in range(IMAGES)]
    words = ["a dog", "the red car"]
    summary = job.annotate(images, tmp_path / "out", words, model=make_pipeline(), quiet=True, shard_size=IMAGES // 20)
    grown = max(used[5:]) - used[5]  # caches have filled by then
    print(f"{summary.images_of_run / summary.seconds:.0f} images a second, {grown / 1e6:+.1f} MB", used)
    assert summary.expressions == 2 * IMAGES and len(used) == 20 and grown < SPARE_BYTES


def test_thousands_of_interactions_of_the_demo_leave_nothing_behind(tmp_path: Path):
    segmenter = DemoSegmenter(make_pipeline())
    for number in range(5):
        make_image(48, 36, seed=number).save(tmp_path / f"{number}.png")

    def call(number: int):
        state = segmenter.segment(segmenter.open(str(tmp_path / f"{number % 5}.png")), "the red car\na dog")
        state = segmenter.click(state, "a dog", "inside", (10 + number % 5, 20))
        return plain(state.results), draw_state(state).tobytes()

    repeat(call, INTERACTIONS, kinds=5)
