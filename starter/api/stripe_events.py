"""Stripe's webhooks at the door: whether one is Stripe's, and the little of it that is kept.

Source: docs.stripe.com/webhooks#verify-events. The signature covers the raw body and the moment of sending, so a body
must not be parsed before it was verified, and an old one is not believed.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import stripe

from models.gateway_events import GatewayEvent

PROVIDER: Final = "stripe"

_TOLERANCE: Final = timedelta(minutes=5)
_KEY: Final = "holdfast_key"
_WORD: Final = re.compile(r"[\x21-\x7e]{1,200}")
# Of the events that our own reconciliation writes; none of Stripe's is called so, and PostgreSQL takes none from us.
_OURS: Final = "reconciliation:"
_DETAILS: Final = ("amount", "amount_reversed", "currency", "status", "reason", "livemode")


class UnverifiedError(Exception):
    """A webhook that is forged, damaged or older than five minutes. It must have no effect."""


def verified(body: bytes, signature: str, secret: str | None) -> GatewayEvent:
    """The event in a webhook, with what of it is worth keeping: no name, no card and no address.

    Raises ``UnverifiedError``; without a secret nothing is believed.
    """
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, int(_TOLERANCE.total_seconds()))
        return _event(json.loads(body))
    # Besides its own error the library lets through those of bad UTF-8 and of a header beyond ASCII; JSON may be nested
    # beyond what can be read, and an event have any shape.
    except (
        stripe.SignatureVerificationError, ValueError, TypeError, AttributeError, LookupError, OverflowError,
        RecursionError,
    ):  # fmt: skip
        raise UnverifiedError("the webhook is forged, damaged or older than five minutes") from None


def _event(said: Mapping[str, Any]) -> GatewayEvent:
    if said["id"].startswith(_OURS):
        raise UnverifiedError(f"no event of Stripe's has an id that begins with {_OURS}")
    about = said["data"]["object"]
    return GatewayEvent(
        id=said["id"],
        type=said["type"],
        created=datetime.fromtimestamp(said["created"], UTC),
        subject=_word(about.get("object")),
        reference=_word(about.get("id")),
        key=_word((about.get("metadata") or {}).get(_KEY)),
        details={name: about[name] for name in _DETAILS if _brief(about.get(name))},
    )


def _word(said: object) -> str | None:
    return said if isinstance(said, str) and _WORD.fullmatch(said) else None


def _brief(said: object) -> bool:
    return isinstance(said, int) or _word(said) is not None
