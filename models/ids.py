"""Ids: a prefix that names the kind, then 26 characters that sort by time (48 bits of milliseconds, 80 of entropy).

Nothing here reads a clock or a random source: callers outside the core pass both in, and the core derives the ids
of what a command creates from the command itself, so that a retried transaction makes the same ids again.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final

PREFIXES: Final = (
    "ten", "pty", "esc", "mil", "dsp", "set", "txn", "ent", "pay", "evt", "pol", "whk", "dln", "chg", "aud", "cmd",
    "cbk", "key", "jwk", "req", "whd", "rec", "dif", "cor",
)  # fmt: skip

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, which sorts like the number
_LENGTH: Final = 26
_ENTROPY_BYTES: Final = 10
_ID = re.compile(rf"({'|'.join(PREFIXES)})_[{_ALPHABET}]{{{_LENGTH}}}")


def make(prefix: str, at: datetime, entropy: bytes) -> str:
    """Build an id for the moment ``at`` from 10 bytes of entropy."""
    if prefix not in PREFIXES or len(entropy) != _ENTROPY_BYTES:
        raise ValueError(f"an id is one of {', '.join(PREFIXES)} and {_ENTROPY_BYTES} bytes of entropy")
    number = ((at - _EPOCH) // _MILLISECOND << 80) | int.from_bytes(entropy, "big")
    return f"{prefix}_{''.join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))}"


def derive(prefix: str, at: datetime, *parts: str) -> str:
    """Build the id that always belongs to these parts: the same command makes the same id on every attempt."""
    digest = hashlib.sha256("\x1f".join((prefix, *parts)).encode()).digest()
    return make(prefix, at, digest[:_ENTROPY_BYTES])


def is_id(prefix: str, text: str) -> bool:
    """Tell whether the text is an id of that kind."""
    return bool(_ID.fullmatch(text)) and text.startswith(f"{prefix}_")


def made_at(identifier: str) -> datetime:
    """Return the moment an id was made for, to the millisecond. Inverse of ``make``."""
    if not _ID.fullmatch(identifier):
        raise ValueError(f"{identifier!r} is not a Holdfast id")
    number = 0
    for character in identifier.partition("_")[2]:
        number = number << 5 | _ALPHABET.index(character)
    try:
        return _EPOCH + (number >> 80) * _MILLISECOND
    except OverflowError:
        raise ValueError(f"{identifier!r} is of no moment in the calendar") from None


def escrow_workflow(escrow: str) -> str:
    """Return the id of an escrow's workflow."""
    return f"escrow:{escrow}"


def escrow_of(workflow_id: str) -> str:
    """Return the escrow of a workflow id. Inverse of ``escrow_workflow``."""
    kind, _, escrow = workflow_id.partition(":")
    if kind != "escrow" or not is_id("esc", escrow):
        raise ValueError(f"{workflow_id!r} is not the id of an escrow's workflow")
    return escrow


def payout_key(payout: str, generation: int) -> str:
    """Return the idempotency key of a payout's attempt with the gateway: of the operation, never of a retry."""
    return f"{payout}:{generation}"


def payout_workflow(payout: str, generation: int) -> str:
    """Return the id of a payout's workflow; a retry after a definite decline is a new generation."""
    return f"payout:{payout}" if generation == 1 else f"payout:{payout}:{generation}"


def charge_workflow(charge: str) -> str:
    """Return the id of the workflow that charges a buyer's payment method."""
    return f"charge:{charge}"
