"""What one buyer and one seller of a marketplace do all day over HTTP: deals, some twice, some at odds with each other.

Every request keeps its Idempotency-Key until its answer is definite, whatever dies meanwhile; that is all a platform's
server has to do. What was answered under each key is kept, to be compared.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx

AMOUNT: Final = 60_000
_PARTS: Final = (10_000, 20_000, 30_000)
_TWICE: Final = 0.2  # how often a request is sent to two processes at the same moment
_GIVE_UP_SECONDS: Final = 120.0
_WAIT_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 40.0
_DEFINITE_UP_TO: Final = 500


@dataclass
class Ledger:
    """What all clients saw. ``answers`` are the definite ones by key; ``approvals`` the seconds to a release."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    answers: dict[str, set[tuple[int, bytes]]] = field(default_factory=dict)
    commands: dict[str, Counter[str]] = field(default_factory=dict)
    approvals: list[float] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    longest_wait: float = 0.0
    twice: int = 0
    at_odds: int = 0
    deals: int = 0

    def saw(self, what: str, key: str, answer: httpx.Response) -> bool:
        """Take an answer down; answers whether it is definite."""
        self.statuses[answer.status_code] += 1
        if answer.status_code >= _DEFINITE_UP_TO and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.odd.append(f"{what}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code in {202, 429} or answer.status_code >= _DEFINITE_UP_TO:
            return False
        body = answer.json()
        if answer.status_code == httpx.codes.CONFLICT and body["code"] == "idempotency_in_progress":
            return False
        outcome = "ok" if answer.is_success else str(body["code"])
        self.commands.setdefault(what, Counter())[outcome] += 1
        # A problem names the request that it answers; its replay is another request.
        told = {name: value for name, value in body.items() if name != "request_id"}
        self.answers.setdefault(key, set()).add((answer.status_code, repr(sorted(told.items())).encode()))
        return True


@dataclass
class Caller:
    """One client: asks the APIs in turn, with one key, for a buyer or seller."""

    http: httpx.AsyncClient
    addresses: list[str]
    key: str
    seen: Ledger
    chance: random.Random

    async def ask(self, actor: str | None, what: str, path: str, body: Any = None) -> httpx.Response | None:
        """Send a request until its answer is definite; sometimes to two processes at once. None when none ever came."""
        key = uuid4().hex
        if self.chance.random() < _TWICE:
            self.seen.twice += 1
            both = await asyncio.gather(*(self._until_definite(actor, what, path, body, key) for _ in range(2)))
            return both[0]
        return await self._until_definite(actor, what, path, body, key)

    async def _until_definite(
        self, actor: str | None, what: str, path: str, body: Any, key: str
    ) -> httpx.Response | None:
        began = time.monotonic()
        while time.monotonic() - began < _GIVE_UP_SECONDS:
            answer = await self._sent(actor, path, body, key)
            if answer is not None and self.seen.saw(what, key, answer):
                took = time.monotonic() - began
                self.seen.longest_wait = max(self.seen.longest_wait, took)
                if what == "approve" and answer.is_success:
                    self.seen.approvals.append(took)
                return answer
            await asyncio.sleep(_WAIT_SECONDS * self.chance.random() * 2)
        self.seen.given_up.append(f"{what} {path} {key}")
        return None

    async def _sent(self, actor: str | None, path: str, body: Any, key: str) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        if actor:
            headers["Holdfast-Actor"] = actor
        address = self.chance.choice(self.addresses)
        try:
            return await self.http.post(f"{address}{path}", json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        except httpx.TransportError as error:
            self.seen.broken[type(error).__name__] += 1
            return None


async def deal(caller: Caller, buyer: str, seller: str) -> None:
    """One deal from its agreement to its end, as chance has it."""
    as_buyer, as_seller = f"buyer:{buyer}", f"seller:{seller}"
    parts = [{"title": f"Part {number}", "amount": part} for number, part in enumerate(_PARTS, 1)]
    agreement = {"buyer": buyer, "seller": seller, "amount": AMOUNT, "currency": "EUR", "title": "A day's deal"}
    made = await caller.ask(None, "create", "/v1/escrows", agreement | {"milestones": parts})
    if made is None or not made.is_success:
        return
    escrow = made.json()
    path = f"/v1/escrows/{escrow['id']}"
    await caller.ask(as_buyer, "fund", f"{path}/fund", {"source": "wallet"})
    await caller.ask(as_seller, "start", f"{path}/start")
    for milestone in (one["id"] for one in escrow["milestones"]):
        about = f"/v1/milestones/{milestone}"
        await caller.ask(as_seller, "submit", f"{about}/submit", {"evidence": []})
        if not await _reviewed(caller, as_buyer, as_seller, path, about):
            break
    caller.seen.deals += 1


async def _reviewed(caller: Caller, buyer: str, seller: str, path: str, about: str) -> bool:
    """A review of one milestone; answers whether the deal goes on."""
    lot = caller.chance.random()
    dispute = {"reason": "late", "description": "It is late."}
    if lot < 0.70:
        await caller.ask(buyer, "approve", f"{about}/approve")
        return True
    if lot < 0.80:  # at odds: whichever commits first
        caller.seen.at_odds += 1
        await asyncio.gather(
            caller.ask(buyer, "approve", f"{about}/approve"),
            caller.ask(buyer, "dispute", f"{path}/disputes", dispute),
            caller.ask(buyer, "reject", f"{about}/reject", {"reason": "not yet"}),
        )
        await caller.ask(seller, "cancel", f"{path}/cancel")
        return False
    if lot < 0.90:
        await caller.ask(buyer, "reject", f"{about}/reject", {"reason": "not yet"})
        await caller.ask(seller, "submit", f"{about}/submit", {"evidence": []})
        await caller.ask(buyer, "approve", f"{about}/approve")
        return True
    await caller.ask(seller, "cancel", f"{path}/cancel")
    return False
