# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The endpoint over HTTP, asked by the client of huggingface_hub and by many clients at once."""

import base64
import http.client
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError
from PIL import Image

from ssp_sam.deployment.endpoint_server import MAX_BODY_BYTES, EndpointServer, load_handler
from tests.helpers.models import make_image
from tests.ssp_sam.deployment.test_endpoint_handler import encoded

PNG = encoded(make_image(48, 36))


@pytest.fixture(scope="module")
def server(tiny_checkpoint):
    handler = load_handler(tiny_checkpoint)
    handler.pipeline.processor.no_target_threshold = 1.0
    with EndpointServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


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
        (request(image=b"no image"), "application/json", "got 8 bytes that are none"),
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


def test_the_log_shows_control_characters_as_numbers(server, capfd):
    connection = socket.create_connection(server.server_address, timeout=60)
    connection.sendall(b"GET /\x1b[31mred\x07 HTTP/1.1\r\nConnection: close\r\n\r\n")
    while connection.recv(4096):
        pass
    connection.close()
    logged = capfd.readouterr().err
    assert r"/\x1b[31mred\x07" in logged and "\x1b" not in logged


def test_code_of_a_folder_runs_only_where_it_is_trusted(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    (tmp_path / "model" / "handler.py").write_text(
        "class EndpointHandler:\n    def __init__(self, path):\n        pass\n"
    )
    own = load_handler(str(tmp_path / "model"))
    assert type(own).__module__ == "ssp_sam.deployment.endpoint_handler"
    assert type(load_handler(str(tmp_path / "model"), trust_remote_code=True)).__module__ == "handler"


def test_a_fault_of_the_model_gives_500_without_its_details(server, monkeypatch, capsys):
    def fail(data):
        raise RuntimeError("a secret path")

    monkeypatch.setattr(server, "handler", fail)
    assert post(server, request()) == (500, {"error": "the model failed on this request"})
    assert "a secret path" in capsys.readouterr().err


def test_a_body_without_end_is_refused_unread(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413 and f"at most {MAX_BODY_BYTES} bytes" in json.loads(response.read())["error"]


def test_health_is_told(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    for path, status in (("/", 200), ("/health", 200), ("/nowhere", 404)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status


# ---- many at once ---------------------------------------------------------------------------------------------------


def test_fifty_parallel_requests_get_their_own_answers(server):
    """Pictures and numbers of words differ, so that a mixed-up answer or a shared tokenizer would show."""
    words = ["a dog", "the red car on the left", "a blue ball", "all apples in the box", "the thing"]
    bodies = []
    for number in range(50):
        text = words[number % 5 :][: 1 + number % 3]
        bodies.append(request(encoded(make_image(20 + number, 30, seed=number)), text, mask_format="rle"))
    expected = [server.handler(json.loads(body)) for body in bodies]
    start = threading.Barrier(50)

    def ask(body):
        start.wait()
        return post(server, body)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, bodies))
    assert [status for status, _ in answers] == [200] * 50
    for (_, answer), other in zip(answers, expected, strict=True):
        assert [item["label"] for item in answer] == [item["label"] for item in other]
        for item, single in zip(answer, other, strict=True):
            assert item["score"] == pytest.approx(single["score"], abs=1e-6) and item["mask"] == single["mask"]
