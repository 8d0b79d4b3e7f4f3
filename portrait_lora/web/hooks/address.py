"""Where a webhook may lead: https to a public address, looked up once and then held to.

A server that fetches addresses named by others can be steered into its own network.  So the address is
checked after the name was resolved, and the connection goes to just that address: a name that resolves
otherwise a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from portrait_lora.errors import InputError

MAX_URL: Final = 2000
_TRANSLATED: Final = tuple(
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))
)
"""IPv6 addresses that carry an IPv4 one, wherever that leads: NAT64, 6to4, Teredo, IPv4-compatible."""
_OWN_NAMES: Final = (".localhost", ".local", ".internal", ".home.arpa")
"""Ends of names that never lead into the public network."""
Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, and the one IP address to connect to; `address` is empty before `resolved`."""

    scheme: str
    host: str
    port: int
    path: str
    address: str = ""

    @property
    def netloc(self) -> str:
        """Host and port as they stand in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def target_of(url: str, allowed: Collection[str] = ()) -> Target:
    """The parts of a webhook's URL; nothing is looked up.

    `allowed` are the `host` or `host:port` that the server was started with for its own network: these may
    be plain http too.  Raises `InputError` for everything that is not plainly https.
    """
    needed = "https://HOST/PATH"
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c in '\\"<>' or c == "\x7f" for c in url):
        raise InputError("not an address for a webhook", where="url", got=url[:120], needed=needed)
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise InputError("not an address for a webhook", where="url", got=url[:120], needed=needed) from error
    if not host or parts.scheme not in ("https", "http") or port == 0:
        raise InputError("not an address for a webhook", where="url", got=url[:120], needed=needed)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InputError("a webhook's address holds no password and no fragment", where="url", needed=needed)
    target = Target(
        parts.scheme,
        host,
        port or {"https": 443, "http": 80}[parts.scheme],
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )
    if is_allowed(target, allowed):
        return target
    if target.scheme != "https":
        raise InputError("a webhook is sent over https only", where="url", got=parts.scheme, needed="https")
    if host == "localhost" or host.endswith(_OWN_NAMES):
        _refuse_private(host, ipaddress.ip_address("127.0.0.1"))
    if (literal := _literal(host)) is not None:
        _refuse_private(host, literal)
    return target


def resolved(target: Target, allowed: Collection[str] = (), resolve: Resolve | None = None) -> Target:
    """The same target with its IP address.  Raises `InputError` when any address of the name is not public,
    or the name has none."""
    try:
        addresses = (resolve or _look_up)(target.host, target.port)
    except OSError as error:
        raise InputError("the webhook's host has no address", where=target.host, got=error) from error
    if not addresses:
        raise InputError("the webhook's host has no address", where=target.host)
    if not is_allowed(target, allowed):
        for one in addresses:
            _refuse_private(target.host, ipaddress.ip_address(one.split("%")[0]))
    return Target(target.scheme, target.host, target.port, target.path, addresses[0])


def is_allowed(target: Target, allowed: Collection[str]) -> bool:
    """Whether the server was started with this host, or with this very port of it."""
    names = {one.lower() for one in allowed}
    return target.host.lower() in names or f"{target.host.lower()}:{target.port}" in names


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address lies in the public network, and does not stand for one that may not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _TRANSLATED):
            return False
    return (
        address.is_global and not address.is_multicast and not address.is_reserved and not address.is_loopback
    )


def _refuse_private(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not is_public(address):
        raise InputError(
            "a webhook does not lead into this machine's own network",
            where=host,
            got=str(address),
            needed="a public address",
            remedy="Start the server with --allow-webhook HOST:PORT if this host is meant.",
        )


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that is written out; `inet_aton` also reads 127.1, 0x7f000001 and 2130706433."""
    try:
        return ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _look_up(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))
