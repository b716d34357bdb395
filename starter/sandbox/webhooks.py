"""Posting events to one endpoint, signed, at least once. Source: docs.stripe.com/webhooks#verify-manually."""

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from starter.sandbox.books import Books

_POLL_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Posting:
    """How events are posted: not at all while they are held, each so many ``times``, in any order when shuffled."""

    held: bool = False
    times: int = 1
    shuffled: bool = False


def sign(body: str, secret: str, timestamp: int) -> str:
    """``t=…,v1=…``: HMAC-SHA256 over the timestamp, a dot and the body."""
    mac = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


async def deliver_for_ever(books: Books, url: str, secret: str, how: Callable[[], Posting]) -> None:
    """Post what is due, again and again, until each event was answered with 2xx."""
    async with httpx.AsyncClient(timeout=5, follow_redirects=False) as client:
        while True:
            posting = how()
            due = [] if posting.held else await asyncio.to_thread(books.due_events)
            if posting.shuffled:
                random.shuffle(due)
            for seq, body, attempts in due:
                answers = [await _post(client, url, body, secret) for _ in range(posting.times)]
                delivered = all(answers)
                wait = min(2**attempts, _LONGEST_WAIT_SECONDS)
                await asyncio.to_thread(books.posted, seq, delivered=delivered, next_at=time.time() + wait)
            await asyncio.sleep(_POLL_SECONDS)


async def _post(client: httpx.AsyncClient, url: str, body: str, secret: str) -> bool:
    headers = {"Content-Type": "application/json", "Stripe-Signature": sign(body, secret, int(time.time()))}
    try:
        answer = await client.post(url, content=body.encode(), headers=headers)
    except httpx.HTTPError:
        return False
    return answer.is_success
