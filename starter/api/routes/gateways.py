"""Webhooks of payment providers: verified, stored, and only then answered.

Source: http-contract.md; edge cases 13 to 18.
"""

import hashlib
from typing import Final, Literal

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from ledger.gateway_events import receive
from models.fields import Document
from starter.api import stripe_events
from starter.api.openapi import problem
from starter.api.problems import ProblemError

router = APIRouter(prefix="/v1/gateways", tags=["gateways"])

log = structlog.get_logger(__name__)

_RESPONSES: Final[dict[int | str, dict[str, object]]] = {
    400: problem("The signature is not the provider's, or older than five minutes. Nothing was stored."),
    404: problem("There is no such provider here."),
    413: problem("The body is larger than 256 KiB."),
    503: problem("The database is away: the provider sends it again."),
}
# The signature is over the body's bytes, so no model reads it.
_REQUEST: Final[dict[str, object]] = {
    "parameters": [
        {
            "name": "Stripe-Signature",
            "in": "header",
            "required": True,
            "description": "The moment of sending, and HMAC-SHA256 over it and the raw body.",
            "schema": {"type": "string"},
            "example": "t=1764504000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
        }
    ],
    "requestBody": {
        "required": True,
        "description": "The provider's event, as it sends it.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy",
                    "object": "event",
                    "type": "charge.dispute.created",
                    "created": 1764504000,
                    "data": {"object": {"id": "du_1MtJUT2eZvKYlo2CNaw2HvEv", "object": "dispute"}},
                },
            }
        },
    },
}


class Receipt(Document):
    """The event is stored; ``duplicate`` says that it was before."""

    received: Literal[True] = True
    duplicate: bool


@router.post("/{name}/webhook", responses=_RESPONSES, openapi_extra=_REQUEST)
async def take_webhook(request: Request, name: str) -> Receipt:
    """What a payment provider tells by itself. It is stored before it is answered, and applied afterwards."""
    if name != stripe_events.PROVIDER:
        raise ProblemError(404, f"there is no payment provider {name[:50]!r} here: only {stripe_events.PROVIDER}")
    holdfast, body = request.app.state.holdfast, await request.body()
    secret = holdfast.config.stripe_webhook_secret
    try:
        event = stripe_events.verified(
            body, request.headers.get("Stripe-Signature", ""), secret.get_secret_value() if secret else None
        )
    except stripe_events.UnverifiedError as error:
        # On record by this line, and as a request of status 400 in the metrics: strangers fill no table of ours.
        digest = hashlib.sha256(body).hexdigest()[:16]
        log.warning("webhook refused", provider=name, bytes=len(body), sha256=digest, secret_is_set=secret is not None)
        raise ProblemError(400, str(error), "invalid_signature") from None
    new = await run_in_threadpool(receive, holdfast.engine, name, event)
    log.info("webhook stored", provider=name, gateway_event=event.id, type=event.type, duplicate=not new)
    return Receipt(duplicate=not new)
