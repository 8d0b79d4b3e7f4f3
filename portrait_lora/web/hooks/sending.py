"""One POST to an address that was checked before: pinned, bounded in time, and no redirect is followed."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from portrait_lora.web.hooks.address import Target

TIMEOUT_SECONDS: Final = 10.0
_MOST_ANSWER: Final = 4096


class _Pinned(http.client.HTTPConnection):
    """Connects to the address of the target; name, Host header and certificate stay the host's."""

    def __init__(self, target: Target, context: ssl.SSLContext | None):
        super().__init__(target.host, target.port, timeout=TIMEOUT_SECONDS)
        self._target, self._context = target, context

    def connect(self) -> None:
        plain = socket.create_connection((self._target.address, self._target.port), TIMEOUT_SECONDS)
        if self._context is None:
            self.sock = plain
            return
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=self._target.host)
        except BaseException:
            plain.close()
            raise


def post(
    target: Target, headers: Mapping[str, str], body: bytes, context: ssl.SSLContext | None = None
) -> int:
    """Send a JSON body; the status of the answer, whatever it is.

    Raises OSError or `http.client.HTTPException` when there is none.  `context` is that of https, by default
    the system's with certificates verified.
    """
    if target.scheme == "https":
        context = context or ssl.create_default_context()
    else:
        context = None
    connection = _Pinned(target, context)
    fields = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "User-Agent": "portrait-lora-webhooks/1",
        "Connection": "close",
        **headers,
    }
    try:
        connection.request("POST", target.path, body, fields)
        answer = connection.getresponse()
        answer.read(_MOST_ANSWER)
        return answer.status
    finally:
        connection.close()
