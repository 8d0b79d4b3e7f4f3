"""Headers of every answer: nothing from elsewhere, no inline script or style, no frame, no sniffing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
REPORT_CSP: Final = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For the reports of a likeness folder, which are whole in themselves: no script, an origin of their own."""
_ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_UNLESS_SET: Final = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    # not no-referrer: with it browsers send `Origin: null` on forms, which is refused here
    "referrer-policy": "same-origin",
}
TYPES: Final = frozenset(
    {
        *("text/html", "text/plain", "text/css", "text/csv", "text/javascript", "text/event-stream"),
        *("application/json", "application/problem+json", "application/zip", "application/octet-stream"),
        *("image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff", "font/woff2"),
        *("application/manifest+json", "application/yaml", "image/vnd.adobe.photoshop", "image/openraster"),
    }
)
"""What is ever sent; a script that somebody brought along cannot be among them."""


def with_safety(
    headers: Iterable[tuple[bytes, bytes]], *, secure: bool, static: bool
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer and those above; SVG only of our own (`static`), else as plain bytes."""
    kept = [(name.lower(), value) for name, value in headers if name.lower() != b"server"]
    names = {name for name, _ in kept}
    fixed = {name.encode(): value.encode() for name, value in _ALWAYS.items()}
    if secure:
        fixed[b"strict-transport-security"] = b"max-age=31536000"
    kept = [(name, value) for name, value in kept if name not in fixed]
    kept += list(fixed.items())
    unless_set = _UNLESS_SET | ({"cache-control": "no-cache"} if static else {})  # kept, and asked for anew
    kept += [(n.encode(), v.encode()) for n, v in unless_set.items() if n.encode() not in names]
    return [
        (name, value if name != b"content-type" or _is_known(value, static) else b"application/octet-stream")
        for name, value in kept
    ]


def _is_known(value: bytes, static: bool) -> bool:
    kind = value.split(b";")[0].strip().decode("latin-1").lower()
    return kind in TYPES or (static and kind in ("image/svg+xml", "image/x-icon", "image/vnd.microsoft.icon"))
