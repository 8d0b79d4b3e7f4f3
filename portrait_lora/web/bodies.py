"""Bodies of requests: limited in size and time while they stream in, and the CSRF token of a form."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from portrait_lora.errors import PortraitError
from portrait_lora.web.problems import Refused, TooLarge, TooSlow
from portrait_lora.web.web_settings import Limits

UPLOADS: Final = ("multipart/form-data", "application/offset+octet-stream", "application/octet-stream")
_FIRST_BYTES: Final = 4096
_CSRF_PART: Final = re.compile(
    rb'\A--[^\r\n]{1,200}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n([\w-]{1,100})\r\n', re.I
)


def most_bytes(headers: Headers, limits: Limits) -> int:
    """How large the body of a request may be.  Raises `TooLarge` when it says that it is larger."""
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    most = limits.upload_bytes if kind in UPLOADS else limits.body_bytes
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,19}", length):
        raise Refused("not a length", where="Content-Length")
    if int(length) > most:
        raise _too_large(most)
    return most


def limited(receive: Receive, most: int, limits: Limits, fault: Callable[[PortraitError], None]) -> Receive:
    """`receive` that raises once a body is larger or slower than allowed, after telling `fault`."""
    total, started, ended = 0, time.monotonic(), False

    async def inner() -> Message:
        nonlocal total, ended
        if ended:  # nothing to come but the end of the connection
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), limits.idle_s)
        except TimeoutError as error:
            raise _told(TooSlow("the body stopped coming", remedy="Send it again."), fault) from error
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if total > most:
                raise _told(_too_large(most), fault)
            late = time.monotonic() - started
            if not ended and late > limits.idle_s and total < late * limits.slowest_bytes_per_s:
                raise _told(TooSlow("the body comes too slowly", remedy="Send it again."), fault)
        return message

    return inner


async def csrf_of_form(headers: Headers, receive: Receive, most: int) -> tuple[str, Receive]:
    """The field `csrf` of a form, and a `receive` that gives the whole body once more.

    In a form with files it has to be the first field.  "" where there is none.
    """
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return "", receive
    enough = _FIRST_BYTES if kind == "multipart/form-data" else most
    messages, data = [], b""
    while len(data) < enough:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        messages.append(message)
        data += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return _csrf_in(kind, data), _replayed(messages, receive)


def _csrf_in(kind: str, data: bytes) -> str:
    if kind == "multipart/form-data":
        part = _CSRF_PART.match(data[:_FIRST_BYTES])
        return part[1].decode("ascii", "replace") if part else ""
    try:
        fields = parse_qs(data.decode("latin-1"), max_num_fields=2000)
    except ValueError:
        return ""
    values = fields.get("csrf", [])
    return values[0] if len(values) == 1 else ""


def _replayed(messages: list[Any], receive: Receive) -> Receive:
    waiting = list(reversed(messages))

    async def inner() -> Message:
        return waiting.pop() if waiting else await receive()

    return inner


def _too_large(most: int) -> TooLarge:
    needed = f"at most {most / (1 << 20):.0f} MB in one request"
    return TooLarge("the request is too large", needed=needed, remedy="Send fewer or smaller files at once.")


def _told(error: PortraitError, fault: Callable[[PortraitError], None]) -> PortraitError:
    fault(error)
    return error
