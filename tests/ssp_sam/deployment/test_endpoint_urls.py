# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How the endpoint handler fetches images: never from where a stranger must not look, never for long, never much."""

import http.server
import socket
import threading
from urllib.parse import urlsplit

import pytest

from ssp_sam.deployment.endpoint_images import EndpointLimits, PayloadError, fetch
from tests.helpers.models import make_image
from tests.ssp_sam.deployment.test_endpoint_handler import encoded

PNG = encoded(make_image())
LOCAL = EndpointLimits(allow_private_urls=True)
ASKER_LEFT = threading.Event()


class Site(http.server.BaseHTTPRequestHandler):
    """A web site with pictures, redirects and traps."""

    def do_GET(self):
        place = urlsplit(self.path).path.strip("/")
        if place == "picture.png":
            self.send(200, PNG)
        elif place == "large":
            self.send(200, bytes(2_000_000))
        elif place == "drip":
            self.send(200, b"")
            while not ASKER_LEFT.wait(0.05):
                self.wfile.write(b"x")
        elif place == "moved":
            self.send(302, b"", Location="/picture.png")
        elif place == "loop":
            self.send(302, b"", Location="/loop")
        elif place == "inward":
            self.send(302, b"", Location="file:///etc/passwd")
        elif place == "nowhere":
            self.send(302, b"", Location="//[")
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


@pytest.mark.parametrize("place", ["picture.png", "picture.png?size=large#part", "moved"])
def test_a_picture_is_fetched(site, place):
    assert fetch(f"{site}/{place}", LOCAL) == PNG


@pytest.mark.parametrize(
    "place, message",
    [
        ("missing", "expected an image from .*/missing', got HTTP status 404"),
        ("loop", "expected at most 3 redirects, got another one to .*/loop'"),
        ("inward", "expected an http or https URL without user name, got 'file:///etc/passwd'"),
        ("nowhere", r"/nowhere' redirects to '//\[', which is no URL"),
        ("large", "expected an image of at most 1 MB at '127.0.0.1', got more"),
    ],
)
def test_what_is_no_picture_is_refused(site, place, message):
    with pytest.raises(PayloadError, match=message):
        fetch(f"{site}/{place}", EndpointLimits(allow_private_urls=True, max_image_megabytes=1))


@pytest.mark.parametrize("place", ["silent", "drip"])
def test_a_slow_site_is_left_even_if_it_keeps_sending(site, place):
    ASKER_LEFT.clear()  # until then the site keeps the asker waiting, so that only the asker can end it
    try:
        with pytest.raises(PayloadError, match="fetching the image from '127.0.0.1' took longer than 0.6 s"):
            fetch(f"{site}/{place}", EndpointLimits(allow_private_urls=True, url_timeout=0.6))
    finally:
        ASKER_LEFT.set()


def test_a_site_that_does_not_speak_tls_is_refused(site):
    with pytest.raises(PayloadError, match=r"could not fetch the image from '127.0.0.1' \(SSL"):
        fetch(site.replace("http:", "https:"), LOCAL)


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
    with pytest.raises(PayloadError, match="'pictures.example' is in a private or special network"):
        fetch("http://pictures.example/a.png", EndpointLimits())


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
    with pytest.raises(PayloadError, match=r"could not fetch the image from 'pictures.example' \(ConnectionRefused"):
        fetch("http://pictures.example/a.png", EndpointLimits())
    assert asked == ["pictures.example"] and connected == [("93.184.215.14", 80)]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PayloadError, match="private or special network"):
        fetch("http://pictures.example/a.png", EndpointLimits())


@pytest.mark.parametrize(
    "url, message",
    [
        ("http://", "expected an http or https URL without user name, got 'http://'"),
        ("http://me:secret@pictures.example/", "expected an http or https URL without user name"),
        ("http://pictures.example:22/", "expected a URL with port 80 or 443, got 22"),
        ("http://pictures.example:port/", "expected an http or https URL, got"),
        ("http://[::1/", "expected an http or https URL, got"),
        ("http://pictures\0.example/", "could not fetch the image from 'pictures"),
        ("http://127.0.0.1/", "'127.0.0.1' is in a private or special network"),
        ("http://2130706433/", "'2130706433' is in a private or special network"),
    ],
)
def test_urls_that_no_picture_has_are_refused(url, message):
    with pytest.raises(PayloadError, match=message):
        fetch(url, EndpointLimits())
