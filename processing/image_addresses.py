# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fetches the file behind an address, within limits of time, size and redirects."""

import threading
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 20.0
MAX_BYTES = 256 * 2**20
SCHEMES = ("http://", "https://")


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 3

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.lower().startswith(SCHEMES):
            raise urllib.error.URLError(f"it redirects to {newurl[:100]!r}, which is no http or https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_file(address: str, timeout: float = TIMEOUT_SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """Returns what lies at an http or https address.

    Args:
        address (`str`): The address.
        timeout (`float`): Seconds that all of it may take, whatever the server does in between.
        max_bytes (`int`): Most bytes that are taken.

    Raises:
        `ValueError`: If nothing comes from it in time, or too much.
    """
    outcome: dict[str, bytes | Exception] = {}

    def fetch():
        try:
            opener = urllib.request.build_opener(_Redirects)
            request = urllib.request.Request(address, headers={"User-Agent": "ssp-sam", "Accept": "image/*"})
            with opener.open(request, timeout=timeout) as response:
                outcome["content"] = response.read(max_bytes + 1)
        except Exception as error:  # of sockets, of HTTP, of the address itself; each becomes the one sentence below
            outcome["error"] = error

    # A socket's own limit starts anew with every byte; only the end of this thread is waited for so long.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(timeout)
    content = outcome.get("content")
    if isinstance(content, bytes) and len(content) <= max_bytes:
        return content
    if isinstance(content, bytes):
        reason = f"it is larger than {max_bytes / 2**20:g} MiB"
    elif "error" in outcome:
        reason = " ".join(str(outcome["error"]).split())[:200] or type(outcome["error"]).__name__
    else:
        reason = f"it took longer than {timeout:g} s"
    raise ValueError(f"could not load an image from {address[:200]!r} ({reason}); check the URL")
