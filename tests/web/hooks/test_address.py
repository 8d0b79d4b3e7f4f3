"""Webhooks lead to public addresses by https, and to nothing else."""

from __future__ import annotations

import ipaddress

import pytest

from portrait_lora.errors import InputError
from portrait_lora.web.hooks.address import is_public, resolved, target_of

PRIVATE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:0:4136:e378::1",
    "::127.0.0.1",
)  # fmt: skip
"""Loopback, private, link-local (cloud metadata), shared, multicast, reserved, and IPv6 that means these."""


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_the_own_network_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InputError, match="own network"):
        target_of(f"https://{host}/x")
    named = target_of("https://hooks.example.org/x")
    with pytest.raises(InputError, match="own network"):
        resolved(named, resolve=lambda host, port: ["93.184.216.34", address])


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "017700000001", "localhost."])
def test_other_ways_to_write_loopback_do_not_help(host: str) -> None:
    with pytest.raises(InputError):
        resolved(target_of(f"https://{host}/"), resolve=lambda host, port: ["127.0.0.1"])


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/", "ftp://x/", "https://", "https:///x", "https://user:pass@x.org/",
        "https://x.org/#part", "https://x.org:0/", "https://x.org:99999/", "https://x.org/a b",
        "https://x.org/\r\nHost: y", "https://x.org\\@127.0.0.1/", "gopher://x", "//x.org", "x",
        "https://ex\u00e4mple.org/", "https://x.org/" + "a" * 2000, "https://[::1", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_what_is_not_plainly_https_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        target_of(url)


def test_a_public_name_is_pinned_to_the_address_that_was_checked() -> None:
    target = resolved(
        target_of("https://hooks.example.org:8443/a?b=c"), resolve=lambda h, p: ["93.184.216.34"]
    )
    assert (target.address, target.port, target.path) == ("93.184.216.34", 8443, "/a?b=c")
    assert target.netloc == "hooks.example.org:8443"


def test_a_name_without_an_address_says_so() -> None:
    def nothing(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(InputError, match="no address"):
        resolved(target_of("https://hooks.example.org/"), resolve=nothing)


def test_only_what_the_server_was_started_with_may_be_near_and_plain() -> None:
    allowed = ("127.0.0.1:9000", "nas")
    assert resolved(target_of("http://127.0.0.1:9000/x", allowed), allowed).address == "127.0.0.1"
    assert target_of("http://NAS:8080/", allowed).port == 8080
    for url in ("http://127.0.0.1:9001/x", "https://127.0.0.1/", "http://127.0.0.2:9000/"):
        with pytest.raises(InputError):
            target_of(url, allowed)
