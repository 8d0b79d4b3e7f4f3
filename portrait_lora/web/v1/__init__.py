"""The API under `/v1`: each module has a `router`, listed here.

Every route declares who may call it (`permissions.py`); one that does not keeps the server from starting.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from portrait_lora.web.v1 import (
    captions,
    catalog,
    detection,
    docs,
    edits,
    events,
    fleets,
    jobs,
    likenesses,
    photos,
    portraits,
    stages,
    tokens,
    uploads,
    webhooks,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    docs.router,
    likenesses.router,
    photos.router,
    uploads.router,
    captions.router,
    stages.router,
    portraits.router,
    edits.router,
    jobs.router,
    events.router,
    fleets.router,
    catalog.router,
    detection.router,
    webhooks.router,
    tokens.router,
)
"""Taken into the application in this order, below `/v1`."""
