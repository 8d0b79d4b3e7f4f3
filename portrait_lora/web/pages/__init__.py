"""The pages: each module has a `router`, listed here.

Every route declares who may call it (`permissions.py`); one that does not keeps the server from starting.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from portrait_lora.web.pages import (
    book,
    canvas,
    captions,
    detect,
    doctor,
    fleet,
    home,
    jobs,
    measure,
    models,
    photos,
    portraits,
    settings,
    sign_in,
    training,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    sign_in.router,
    home.router,
    photos.router,
    captions.router,
    training.router,
    portraits.router,
    book.router,
    canvas.router,
    measure.router,
    settings.router,
    models.router,
    doctor.router,
    jobs.router,
    detect.router,
    fleet.router,
)
"""Taken into the application in this order."""
