# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How images are fetched: never from where a stranger must not look, never for long, never much."""

import http.server
import socket
import threading
from urllib.parse import urlsplit

import pytest

from ssp_sam.deployment.endpoint_images import EndpointLimits, PayloadError, read_image
from ssp_sam.processing.image_addresses import ALLOW_PRIVATE, decode_base64, fetch_file
from ssp_sam.processing.image_inputs import read_rgb
from tests.helpers.models import make_image
from tests.helpers.odd_images import encoded

PNG = encoded(make_image())
MAX_BYTES = 1_000_000


def fetch(address: str, allow_private: bool = True, timeout: float = 10.0) -> bytes:
    return fetch_file(address, MAX_BYTES, timeout, allow_private)


ASKER_LEFT = threading.Event()


class Site(http.server.BaseHTTPRequestHandler):
    """A web site with images, redirects and traps."""

    def do_GET(self):
        place = urlsplit(self.path).path.strip("/")
        if place == "image.png":
            self.send(200, PNG)
        elif place == "large":
            self.send(200, bytes(2_000_000))
        elif place == "drip":
            self.send(200, b"")
            while not ASKER_LEFT.wait(0.05):
                self.wfile.write(b"x")
        elif place == "moved":
            self.send(302, b"", Location="/image.png")
        elif place == "loop":
            self.send(302, b"", Location="/loop")
        elif place == "inward":
            self.send(302, b"", Location="file:///etc/passwd")
        elif place == "nowhere":
            self.send(302, b"", Location="//[")
        elif place == "missing.png":
            self.send(404, PNG)
        elif place == "silent":
            ASKER_LEFT.wait()
        else:
            self.send(404, b"nothing here")

    def send(self, status, content, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.handle_error = lambda *args: None  # clients that hang up are part of these tests
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["image.png", "image.png?size=large#part", "moved", " image.png"])
def test_an_image_is_fetched(site, place):
    assert fetch(f"{site}/{place.strip()}") == PNG


@pytest.mark.parametrize(
    "place, reason",
    [
        ("missing", "HTTP status 404"),
        ("missing.png", "HTTP status 404"),  # with an image as its body
        ("loop", "it has more than 3 redirects"),
        ("inward", "it redirects to 'file:///etc/passwd', which is no http or https address"),
        ("nowhere", r"it redirects to '//\[', which is no address"),
        ("large", "it is larger than 1 MB"),
    ],
)
def test_what_is_no_image_is_refused(site, place, reason):
    with pytest.raises(ValueError, match=rf"could not load an image from '.*/{place}' \({reason}\); check the URL"):
        fetch(f"{site}/{place}")


@pytest.mark.parametrize("place", ["silent", "drip"])
def test_a_slow_site_is_left_even_if_it_keeps_sending(site, place):
    ASKER_LEFT.clear()  # until then the site keeps the asker waiting, so that only the asker can end it
    try:
        with pytest.raises(ValueError, match="it took longer than 0.6 s"):
            fetch(f"{site}/{place}", timeout=0.6)
    finally:
        ASKER_LEFT.set()


def test_a_site_that_does_not_speak_tls_is_refused(site):
    with pytest.raises(ValueError, match=r"could not load an image from 'https.*SSL"):
        fetch(site.replace("http:", "https:"))


def test_private_addresses_are_asked_only_where_that_is_allowed(site, monkeypatch):
    monkeypatch.delenv(ALLOW_PRIVATE, raising=False)
    with pytest.raises(ValueError, match=r"\(its port is \d+, neither 80 nor 443; SSP_SAM_ALLOW_PRIVATE_URLS=1 allows"):
        read_rgb(f"{site}/image.png")
    with pytest.raises(PayloadError, match="neither 80 nor 443"):
        read_image(f"{site}/image.png", EndpointLimits())
    monkeypatch.setenv(ALLOW_PRIVATE, "1")
    assert read_rgb(f"{site}/image.png")[0].tobytes() == make_image().tobytes()
    assert read_image(f" {site}/image.png", EndpointLimits.from_environment()).tobytes() == make_image().tobytes()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # metadata of cloud machines
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
        "2001:0:7f00:1::",
        "fec0::1",
        "ff02::1",
        "192.0.0.192",
        "168.63.129.16",  # of Azure, to its machines
    ],
)
def test_private_and_special_addresses_are_refused_however_they_are_named(monkeypatch, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 80))])
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a connection was tried"))
    with pytest.raises(ValueError, match="'images.example' is in a private or special network"):
        fetch("http://images.example/a.png", allow_private=False)


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch):
    asked, connected = [], []

    def resolve(host, *_, **__):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14" if len(asked) == 1 else "127.0.0.1", 80))]

    def connect(address, **_):
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ValueError, match=r"could not load an image from .*ConnectionRefused"):
        fetch("http://images.example/a.png", allow_private=False)
    assert asked == ["images.example"] and connected == [("93.184.215.14", 80)]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ValueError, match="private or special network"):
        fetch("http://images.example/a.png", allow_private=False)


@pytest.mark.parametrize(
    "address, reason",
    [
        ("http://", "it is no http or https address"),
        ("ftp://images.example/a.png", "it is no http or https address"),
        ("http://me:secret@images.example/", "it has a user name"),
        ("http://images.example:22/", "its port is 22, neither 80 nor 443"),
        ("http://images.example:port/", "Port could not be cast"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://images\0.example/", "control characters|null character|codec"),
        ("http://" + "a" * 300 + ".example/", "label|too long|Name or service|failure in name"),
        ("http://127.0.0.1/", "'127.0.0.1' is in a private or special network; SSP_SAM_ALLOW_PRIVATE_URLS=1 allows it"),
        ("http://2130706433/", "'2130706433' is in a private or special network"),
    ],
)
def test_addresses_that_no_image_has_are_refused(address, reason):
    with pytest.raises(ValueError, match=rf"could not load an image from .*\(.*({reason})"):
        fetch(address, allow_private=False)


@pytest.mark.parametrize(
    "text", ["aW1hZ2U/", "aW1hZ2U_", " aW1h\nZ2U/ ", "data:image/png;base64,aW1hZ2U/", "DATA:;BASE64,aW1hZ2U_"]
)
def test_base64_is_read_in_all_its_forms(text):
    assert decode_base64(text) == b"image?"


@pytest.mark.parametrize("text", ["data:image/png,aW1hZ2U/", "data:", "aW1h*2U/", "ü" * 40])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ValueError):
        decode_base64(text)
