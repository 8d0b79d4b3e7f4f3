"""Webhooks: signed messages on jobs to an address of the user's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response

from portrait_lora.web import paging
from portrait_lora.web.hooks.book import PING, Webhook
from portrait_lora.web.permissions import Member, current_studio
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.parts import HookBook, Limit
from portrait_lora.web.v1.routing import router as new_router

router = new_router("webhooks")
HookId = Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]


def _fields(hook: Webhook) -> dict[str, object]:
    return {
        "id": hook.id, "url": hook.url, "events": list(hook.events), "likeness": hook.likeness,
        "created": hook.created, "disabled": hook.disabled,
    }  # fmt: skip


@router.get("/webhooks")
def list_webhooks(user: Member, book: HookBook) -> shapes.WebhookList:
    """The webhooks of the user who asks."""
    items = [shapes.Webhook.model_validate(_fields(hook)) for hook in book.list(user.name)]
    return shapes.WebhookList(items=items)


@router.post("/webhooks", status_code=201)
def create_webhook(
    request: Request, response: Response, user: Member, book: HookBook, body: shapes.NewWebhook
) -> shapes.WebhookSecret:
    """A webhook by https to a public address; its secret is shown this once.

    Messages are signed by the Standard Webhooks specification, retried for most of a day, and at least 500 ms
    apart for each job.
    """
    if body.likeness:
        current_studio(request).person(user, body.likeness)
    hook = book.create(user.name, body.url, body.events, body.likeness)
    response.headers["Location"] = f"/v1/webhooks/{hook.id}"
    return shapes.WebhookSecret.model_validate(_fields(hook) | {"secret": hook.secret})


@router.get("/webhooks/{hook}")
def get_webhook(user: Member, book: HookBook, hook: HookId) -> shapes.Webhook:
    """One webhook, without its secret."""
    return shapes.Webhook.model_validate(_fields(book.get(user.name, hook)))


@router.delete("/webhooks/{hook}", status_code=204)
def delete_webhook(user: Member, book: HookBook, hook: HookId) -> Response:
    """Nothing is sent to it any more."""
    book.remove(user.name, hook)
    return Response(status_code=204)


@router.post("/webhooks/{hook}/ping", status_code=202)
def ping_webhook(user: Member, book: HookBook, hook: HookId) -> shapes.Sent:
    """Send a message of type `ping`."""
    return shapes.Sent(id=book.add(book.get(user.name, hook), PING, "", {}))


@router.get("/webhooks/{hook}/deliveries")
def list_deliveries(
    user: Member, book: HookBook, hook: HookId, limit: Limit = paging.LIMIT
) -> shapes.DeliveryList:
    """Its newest messages, and what became of each."""
    rows = book.deliveries(book.get(user.name, hook).id, limit)
    items = [
        shapes.Delivery.model_validate(
            {
                "id": d.id,
                "kind": d.kind,
                "job": d.job,
                "created": d.created,
                "attempts": d.attempts,
                "state": d.state,
                "status": d.status,
                "error": d.error,
            }
        )
        for d in rows
    ]
    return shapes.DeliveryList(items=items)
