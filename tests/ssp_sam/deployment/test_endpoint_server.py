# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The endpoint over HTTP, asked by the client of huggingface_hub and by many clients at once."""

import base64
import contextlib
import http.client
import json
import logging
import re
import shutil
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError
from PIL import Image

from ssp_sam.cli.main import main
from ssp_sam.deployment import endpoint_server
from ssp_sam.deployment.batching import BatchedPredictor
from ssp_sam.deployment.endpoint_handler import EndpointHandler
from ssp_sam.deployment.endpoint_server import MAX_BODY_BYTES, RUNNING, EndpointServer, load_handler
from ssp_sam.training.data.masks import decode
from tests.helpers.models import make_image
from tests.ssp_sam.deployment.test_endpoint_handler import encoded

PNG = encoded(make_image(48, 36))


@pytest.fixture(scope="module")
def server(tiny_checkpoint):
    handler = load_handler(tiny_checkpoint)
    handler.pipeline.processor.no_target_threshold = 1.0
    with serving(handler) as server:
        yield server


@contextlib.contextmanager
def serving(handler, **options):
    """A server that runs in a thread, and has ended afterwards."""
    with EndpointServer(("127.0.0.1", 0), handler, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


class Held:
    """A handler whose requests wait to be let go."""

    def __init__(self):
        self.go, self.seen = threading.Event(), []

    def __call__(self, data):
        self.seen.append(data)
        assert self.go.wait(60)
        return "done"


class Lines(logging.Handler):
    """What the server says in its log."""

    def __init__(self):
        super().__init__()
        self.text = ""

    def emit(self, record):
        self.text += logging.Formatter().format(record) + "\n"


@pytest.fixture
def log():
    lines, loggers = Lines(), [logging.getLogger(name) for name in ("uvicorn.error", "uvicorn.access", "asyncio")]
    for logger in loggers:
        logger.addHandler(lines)
    yield lines
    for logger in loggers:
        logger.removeHandler(lines)


@pytest.fixture
def picture(tmp_path, monkeypatch) -> str:
    """A file for the client of huggingface_hub, which may talk to this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "picture.png").write_bytes(PNG)
    return str(tmp_path / "picture.png")


def post(server, body: bytes, kind: str = "application/json", path: str = "/"):
    """Status and decoded answer of a plain POST."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request("POST", path, body, {"Content-Type": kind})
    response = connection.getresponse()
    status, content = response.status, json.loads(response.read())
    connection.close()
    return status, content


def get(server, path: str, method: str = "GET", **headers: str):
    """Status, headers and text of a request without a body."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text


def open_post(server, length: int, body: bytes = b"") -> socket.socket:
    """A connection that has sent the head of a request, and some of its body."""
    connection = socket.create_connection(server.server_address, timeout=60)
    connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body)
    return connection


def wait_for(server, number: int):
    """Until this many requests wait or run."""
    for _ in range(3000):
        if f"\nssp_sam_requests_waiting {number}\n" in get(server, "/metrics")[2]:
            return
        time.sleep(0.01)
    pytest.fail(f"there were never {number} requests")


def request(image: bytes = PNG, text="a dog", **fields) -> bytes:
    return json.dumps({"inputs": {"image": base64.b64encode(image).decode(), "text": text, **fields}}).encode()


# ---- the client of huggingface_hub ----------------------------------------------------------------------------------


def test_image_segmentation_of_the_hub_client_gives_masks(server, picture):
    client = InferenceClient(model=f"{server.url}/?text=the+red+car")
    (element,) = client.image_segmentation(picture)
    (expected,) = server.handler.pipeline(Image.open(picture), "the red car")
    assert element.label == "the red car" and element.score == expected["score"]
    assert np.array_equal(np.asarray(element.mask), np.asarray(expected["mask"]))
    assert element.box == expected["box"]


def test_zero_shot_classification_of_the_hub_client_sends_several_expressions(server, picture):
    client = InferenceClient(model=server.url)
    elements = client.zero_shot_image_classification(picture, ["a dog", "the red car"])
    assert [element.label for element in elements] == ["a dog", "the red car"]
    assert all(element.mask and element.box for element in elements)


def test_a_question_of_the_hub_client_is_an_expression(server, picture):
    (element,) = InferenceClient(model=server.url).visual_question_answering(picture, "a dog")
    assert element.label == "a dog" and element.mask


def test_the_hub_client_is_told_what_is_wrong(server, picture):
    with pytest.raises(BadRequestError, match="expected 'text' with one expression or a list of them, got none"):
        InferenceClient(model=server.url).image_segmentation(picture)


# ---- plain requests -------------------------------------------------------------------------------------------------


def test_json_and_raw_images_give_the_same_answer(server):
    status, answer = post(server, request(mask_format="rle"))
    assert status == 200 and answer[0]["mask"]["size"] == [36, 48]
    for kind in ("image/png", "image/png; charset=binary", "application/octet-stream"):
        assert post(server, PNG, kind, "/predict?text=a%20dog&mask_format=rle") == (200, answer)


@pytest.mark.parametrize(
    "body, kind, message",
    [
        (b"{", "application/json", "the body is not JSON"),
        (b"[" * 100_000, "application/json", "the body is not JSON"),
        (b"\xff\xfe", "application/json", "the body is not JSON"),
        (b"[1]", "application/json", "expected a JSON object with 'inputs'"),
        (b'{"image": "x"}', "application/json", "expected a JSON object with 'inputs'"),
        (b'{"inputs": {"text": "a", "text": "b"}}', "application/json", "the name 'text' stands twice in it"),
        (request(text="the \udcff dog"), "application/json", "is no valid Unicode"),
        (b"text=a+dog", "application/x-www-form-urlencoded", "expected a Content-Type of application/json or image/"),
        (b"no image", "image/png", "expected 'text'"),
        (request(image=b"no image"), "application/json", "could not read an image from 8 bytes"),
        (request(text=" "), "application/json", "expected words in expression 1, got ' '"),
        (request(points=[[48.5, 1]]), "application/json", "lies outside its image of width 48 and height 36"),
    ],
)
def test_wrong_payloads_give_400_and_a_sentence(server, body, kind, message):
    status, answer = post(server, body, kind)
    assert status == 400 and list(answer) == ["error"] and message in answer["error"]


@pytest.mark.parametrize(
    "query, message",
    [
        ("text=a&mask_format=png&mask_format=rle", "got 'mask_format' twice with different values in the query"),
        ("text=%ff", "can't decode byte 0xff"),
        ("text=a&text=%20", "expected words in expression 2, got ' '"),
        ("inputs=photo.png&text=a", "got 'inputs' in the query of the URL and in the body"),
    ],
)
def test_nothing_of_a_query_is_lost_without_a_word(server, query, message):
    status, answer = post(server, PNG, "image/png", f"/?{query}")
    assert status == 400 and message in answer["error"]


def test_a_text_that_stands_twice_in_the_query_is_two_expressions(server):
    status, answer = post(server, PNG, "image/png", "/?text=a+dog&text=the+zyzzyva&mask_format=rle&mask_format=rle")
    assert status == 200 and [item["label"] for item in answer] == ["a dog", "the zyzzyva"]
    assert [item["unknown_words"] for item in answer] == [[], ["zyzzyva"]]


def test_parameters_in_query_and_body_go_together(server):
    body = json.dumps({"inputs": base64.b64encode(PNG).decode(), "parameters": {"mask_format": "rle"}}).encode()
    status, answer = post(server, body, path="/?text=a+dog")
    assert status == 200 and answer == post(server, request(mask_format="rle"))[1]
    status, answer = post(server, body, path="/?text=a+dog&mask_format=png")
    assert status == 400 and "got 'mask_format' twice with different values" in answer["error"]


@pytest.mark.parametrize("path", [b"/\x1b[31mred\x07", b"/%1b[31mred%07", "/\u202ered".encode()])
def test_the_log_shows_no_control_characters(server, log, path):
    connection = socket.create_connection(server.server_address, timeout=60)
    connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    while connection.recv(4096):
        pass
    connection.close()
    lines = log.text.strip().split("\n")  # the server may also say that it has started
    assert "" not in lines and all(line.isprintable() for line in lines)


def test_code_of_a_folder_runs_only_where_it_is_trusted(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    (tmp_path / "model" / "handler.py").write_text(
        "class EndpointHandler:\n    def __init__(self, path):\n        pass\n"
    )
    own = load_handler(str(tmp_path / "model"))
    assert type(own).__module__ == "ssp_sam.deployment.endpoint_handler"
    assert type(load_handler(str(tmp_path / "model"), trust_remote_code=True)).__module__ == "handler"


def test_a_fault_of_the_model_gives_500_without_its_details(server, log, monkeypatch):
    def fail(data):
        raise RuntimeError("a secret path\x1b[31m")

    monkeypatch.setattr(server, "handler", fail)
    assert post(server, request()) == (500, {"error": "the model failed on this request"})
    assert r"a secret path\x1b[31m" in log.text and "\x1b" not in log.text


def test_a_body_without_end_is_refused_unread(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413 and f"at most {MAX_BODY_BYTES} bytes" in json.loads(response.read())["error"]


def test_health_is_told(server):
    assert [get(server, path)[::2] for path in ("/", "/health")] == [(200, "Ok")] * 2
    status, _, text = get(server, "/nowhere")
    assert status == 404 and json.loads(text) == {"error": "nothing for GET at '/nowhere'; POST to /"}
    assert get(server, "/predict")[0] == 405


def test_metrics_count_by_status():
    with serving(lambda data: data["text"]) as server:
        for text in ("a", "b", ""):
            post(server, PNG, "image/png", f"/?text={text}&mask_format=rle" if text else "/?inputs=x")
        lines = get(server, "/metrics")[2].splitlines()
    assert 'ssp_sam_requests_total{status="200"} 2' in lines and 'ssp_sam_requests_total{status="400"} 1' in lines
    assert "ssp_sam_requests_waiting 0" in lines


def test_pages_of_other_origins_may_ask_where_they_are_allowed():
    page = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    page["Access-Control-Request-Headers"] = "content-type"
    with serving(str) as server:
        status, headers, _ = get(server, "/", "OPTIONS", **page)
        assert status == 204 and "POST" in headers["Allow"] and "Access-Control-Allow-Origin" not in headers
    with serving(str, allowed_origins=["https://example.org"]) as server:
        status, headers, _ = get(server, "/predict", "OPTIONS", **page)
        assert status == 200 and headers["Access-Control-Allow-Origin"] == "https://example.org"
        assert get(server, "/", Origin="https://example.org")[1]["Access-Control-Allow-Origin"] == "https://example.org"
        other = get(server, "/", "OPTIONS", **page | {"Origin": "https://example.com"})
        assert other[0] == 400 and "Access-Control-Allow-Origin" not in other[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--allow-origin", "foo"], "--allow-origin must be \\* or such as https://example.org, got 'foo'"),
        (["--allow-origin", "https://example.org/page"], "got 'https://example.org/page'"),
        (["a", "--model", "b"], "expected one model, got 'a' and --model 'b'"),
        (["--model", "nowhere/at/all"], "'nowhere/at/all' is no file or folder"),
    ],
)
def test_bad_usage_of_the_command_is_one_line(words, message, capsys):
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1


def test_the_command_says_what_serving_needs(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ssp_sam.deployment.endpoint_server")
    monkeypatch.delattr("ssp_sam.deployment.endpoint_server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", tiny_checkpoint]) == 2
    assert (
        capsys.readouterr().err
        == "ssp-sam: serving needs uvicorn, which is not installed: pip install ssp-sam[serve]\n"
    )


# ---- many at once ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[pytest.param("one pass each", marks=pytest.mark.long), "batched"])
def any_server(request, tiny_checkpoint):
    handler = load_handler(tiny_checkpoint)
    handler.pipeline.processor.no_target_threshold = 1.0
    batching = BatchedPredictor(handler.pipeline, cached_images=8) if request.param == "batched" else None
    with serving(handler, batching=batching) as server:
        yield server


def test_two_hundred_clients_at_once_get_their_own_answers(any_server):
    """Images and numbers of words differ, so that a mixed-up answer or a shared tokenizer would show."""
    words = ["a dog", "the red car on the left", "a blue ball", "all apples in the box", "the thing"]
    bodies = []
    for number in range(20):
        text = words[number % 5 :][: 1 + number % 2]
        bodies.append(request(encoded(make_image(20 + number, 30, seed=number)), text, mask_format="rle"))
    server, alone = any_server, EndpointHandler(any_server.handler.pipeline.model.name_or_path)
    alone.pipeline.processor.no_target_threshold = 1.0
    expected = [alone(json.loads(body)) for body in bodies]
    start = threading.Barrier(200)

    def ask(body):
        start.wait()
        return post(server, body)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, bodies * 10))
    assert [status for status, _ in answers] == [200] * 200
    for (_, answer), other in zip(answers, expected * 10, strict=True):
        assert [item["label"] for item in answer] == [item["label"] for item in other]
        for item, single in zip(answer, other, strict=True):
            assert item["score"] == pytest.approx(single["score"], abs=1e-5)
            assert differing(item["mask"], single["mask"]) < 0.01


def differing(first: dict, second: dict) -> float:
    """The fraction of pixels in which two masks differ; rounding differs with the size of a batch."""
    return (decode(first) != decode(second)).mean()


def test_an_image_that_is_asked_about_again_is_not_encoded_again(tiny_checkpoint):
    handler = load_handler(tiny_checkpoint)
    with serving(handler, batching=BatchedPredictor(handler.pipeline)) as server:
        clicks = [{}, {"points": [[9, 9]]}, {"points": [[9, 9], [30, 20]], "point_labels": [1, 0]}]
        answers = [post(server, request(mask_format="rle", **fields)) for fields in clicks]
        assert [status for status, _ in answers] == [200] * 3
        lines = get(server, "/metrics")[2].splitlines()
    assert "ssp_sam_encoded_images_total 1" in lines and "ssp_sam_passes_total 3" in lines
    for (_, (found,)), fields in zip(answers, clicks):
        (single,) = EndpointHandler(tiny_checkpoint)(json.loads(request(mask_format="rle", **fields)))
        assert found["score"] == pytest.approx(single["score"], abs=1e-5)
        assert differing(found["mask"], single["mask"]) < 0.01


def test_what_is_wrong_with_one_request_of_a_pass_is_told_to_that_one_alone(tiny_checkpoint):
    handler = load_handler(tiny_checkpoint)
    batching = BatchedPredictor(handler.pipeline, window=500)
    forward = handler.pipeline.forward

    def fail_on_cats(inputs):
        if any("a cat" in labels for labels in inputs["labels"]):
            raise RuntimeError("no cats")
        return forward(inputs)

    batching.pipeline.forward = fail_on_cats
    with serving(handler, batching=batching) as server, ThreadPoolExecutor(3) as pool:
        asked = [request(text=text) for text in ("a dog", "a cat", "the red car")]
        assert [status for status, _ in pool.map(lambda body: post(server, body), asked)] == [200, 500, 200]


def test_a_request_too_many_is_sent_away():
    held = Held()
    with serving(held, max_waiting=3) as server:
        waiting = [open_post(server, 1, b"x") for _ in range(3)]
        wait_for(server, 3)
        status, answer = post(server, request())
        assert status == 429 and answer == {"error": "too many requests are waiting; try again later"}
        held.go.set()
        assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in waiting)
        wait_for(server, 0)
        assert post(server, request()) == (200, "done")
        for connection in waiting:
            connection.close()


def test_bodies_that_wait_are_limited_together():
    with serving(str) as server:
        waiting = [open_post(server, MAX_BODY_BYTES) for _ in range(8)]  # none of them sends its body
        wait_for(server, 8)
        assert post(server, request())[0] == 429
        for connection in waiting:
            connection.close()
        wait_for(server, 0)
        assert post(server, request())[0] == 200


def test_a_body_that_never_comes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(endpoint_server, "BODY_SECONDS", 0.05)
    with serving(str) as server, open_post(server, 9) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_turn_that_never_comes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(endpoint_server, "WAITING_SECONDS", 0.05)
    held = Held()
    with serving(held) as server:
        first = [open_post(server, 1, b"x") for _ in range(RUNNING)]
        wait_for(server, RUNNING)
        status, answer = post(server, request())
        assert status == 503 and answer == {"error": "other requests took too long; try again later"}
        held.go.set()
        for connection in first:
            connection.close()


def test_clients_that_went_away_cost_no_work_and_no_line_of_the_log(log):
    held = Held()
    with serving(held) as server:
        leaving = [open_post(server, 1, b"x") for _ in range(RUNNING)]
        wait_for(server, RUNNING)
        leaving += [open_post(server, 1, b"x") for _ in range(20)]
        leaving += [open_post(server, 2, b"x") for _ in range(20)]  # in the middle of their bodies
        wait_for(server, RUNNING + 40)
        for connection in leaving:
            connection.close()
        wait_for(server, RUNNING + 20)
        log.text = ""
        held.go.set()
        wait_for(server, 0)
        assert len(held.seen) == RUNNING
        assert [line for line in log.text.splitlines() if "/metrics" not in line] == []
        assert post(server, request()) == (200, "done")


def test_requests_under_way_are_answered_before_the_server_ends():
    held = Held()
    with serving(held) as server:
        connection = open_post(server, 1, b"x")
        wait_for(server, 1)
        server.shutdown()
        held.go.set()
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.close()
