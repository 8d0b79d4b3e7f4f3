"""The API under `/v1`: each module has a `router`, listed here.

Every route declares who may call it (`permissions.py`); one that does not keeps the server from starting.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

ROUTERS: Final[tuple[APIRouter, ...]] = ()
"""Taken into the application in this order, below `/v1`."""
