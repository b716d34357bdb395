"""A platform's server as it has to be: every request keeps its Idempotency-Key until its answer is definite.

What was answered under each key is kept, to be compared with what was answered before, and with the books.
"""

import asyncio
import hashlib
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx

_TWICE: Final = 0.2  # how often a request is sent to two processes at the same moment
_GIVE_UP_SECONDS: Final = 900.0
_WAIT_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 40.0
_DEFINITE_UP_TO: Final = 500

# What the rules may answer to what is asked here. Anything else is a mistake, of the product or of this load.
REFUSALS: Final = frozenset(
    {
        "chargeback_open", "conflict", "invalid_transition", "payment_declined", "payment_required", "payout_held",
        "refund_amount_mismatch",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """A request, when it was sent (seconds of the epoch) and to which API (``api1``); ``answered`` when it succeeded.

    ``reaches`` is how far it had to go: to the books (``read``), to Temporal and its workers (``command``), or to the
    provider as well (``money``).
    """

    sent: float
    answered: float | None
    api: str
    reaches: str


@dataclass
class Seen:
    """What all clients saw. ``answers`` are digests of definite ones by key, ``accepted`` and ``refused`` keys by what
    they asked for. ``named`` are the accounts that were ever asked to be a party's, by tenant and party.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    answers: dict[str, set[str]] = field(default_factory=dict)
    commands: dict[str, Counter[str]] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    named: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    approvals: list[float] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    longest_wait: float = 0.0
    keys: int = 0
    requests: int = 0
    twice: int = 0
    at_odds: int = 0
    deals: Counter[str] = field(default_factory=Counter)

    def name(self, tenant: str, party: str, account: str) -> None:
        """Take down that a party's money may go to an account; before it is asked for, as it may happen at once."""
        self.named.setdefault((tenant, party), set()).add(account)

    @property
    def repeated(self) -> int:
        """Requests that were sent under a key that had been sent before."""
        return self.requests - self.keys

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
        if outcome not in REFUSALS | {"ok"}:
            self.odd.append(f"{what}: {answer.status_code} {answer.text[:300]}")
        if key not in self.answers:
            self.commands.setdefault(what, Counter())[outcome] += 1
            (self.accepted if answer.is_success else self.refused)[key] = what
        # A problem names the request that it answers; its replay is another request.
        told = {name: value for name, value in body.items() if name != "request_id"}
        digest = hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()[:16]
        self.answers.setdefault(key, set()).add(f"{answer.status_code} {outcome} {digest}")
        return True


@dataclass
class Caller:
    """One client: asks the APIs in turn, with one key for each thing that it wants. Operators have their own secret."""

    http: httpx.AsyncClient
    addresses: list[str]
    tenant: str
    secret: str
    operators_secret: str
    seen: Seen
    chance: random.Random

    async def ask(
        self,
        actor: str | None,
        what: str,
        path: str,
        body: Any = None,
        method: str = "POST",
        reaches: str = "command",
        surely: bool = False,
    ) -> httpx.Response | None:
        """Send a request until its answer is definite; sometimes to two processes at once. None when none ever came.

        ``surely``: nothing stands against it, so that only a declined card may be the reason for a refusal.
        """
        key = uuid4().hex
        self.seen.keys += 1
        sending = [self._until_definite(actor, what, method, path, body, key, reaches)]
        if self.chance.random() < _TWICE:
            self.seen.twice += 1
            sending.append(self._until_definite(actor, what, method, path, body, key, reaches))
        answer = (await asyncio.gather(*sending))[0]
        if surely and answer is not None and answer.status_code not in {200, 201, 402}:
            self.seen.odd.append(f"{what} {key} was refused, and nothing stood against it: {answer.text[:300]}")
        return answer

    async def read(self, path: str) -> Any:
        """The document at a path, asked for until it comes. None when it never came."""
        began = time.monotonic()
        while time.monotonic() - began < _GIVE_UP_SECONDS:
            sent, address = time.time(), self.chance.choice(self.addresses)
            answer = await self._sent("GET", address, path, {}, None)
            good = answer is not None and answer.is_success
            self._note(sent, address, "read", good=good)
            if answer is not None and good:
                return answer.json()
            if answer is not None and answer.status_code not in {429, 503}:
                self.seen.odd.append(f"GET {path}: {answer.status_code} {answer.text[:200]}")
                return None
            await asyncio.sleep(_WAIT_SECONDS * self.chance.random() * 2)
        self.seen.given_up.append(f"GET {path}")
        return None

    async def tell(self, url: str, body: Any) -> None:
        """Post to somebody else once: what gets lost on the road is not sent again."""
        with suppress(httpx.TransportError):
            await self.http.post(url, json=body, timeout=_TIMEOUT_SECONDS)

    @staticmethod
    def key_of(answer: httpx.Response) -> str:
        """The Idempotency-Key that an answer is for."""
        return str(answer.request.headers["Idempotency-Key"])

    async def _until_definite(
        self, actor: str | None, what: str, method: str, path: str, body: Any, key: str, reaches: str
    ) -> httpx.Response | None:
        headers = {"Idempotency-Key": key} | ({"Holdfast-Actor": actor} if actor else {})
        began = time.monotonic()
        while time.monotonic() - began < _GIVE_UP_SECONDS:
            self.seen.requests += 1
            sent, address = time.time(), self.chance.choice(self.addresses)
            answer = await self._sent(method, address, path, headers, body)
            definite = answer is not None and self.seen.saw(what, key, answer)
            self._note(sent, address, reaches, good=definite and answer is not None and answer.is_success)
            if definite:
                took = time.monotonic() - began
                self.seen.longest_wait = max(self.seen.longest_wait, took)
                if answer is not None and answer.is_success and what == "approve":
                    self.seen.approvals.append(took)
                return answer
            await asyncio.sleep(_WAIT_SECONDS * self.chance.random() * 2)
        self.seen.given_up.append(f"{what} {path} {key}")
        return None

    def _note(self, sent: float, address: str, reaches: str, *, good: bool) -> None:
        name = f"api{self.addresses.index(address) + 1}"
        self.seen.attempts.append(Attempt(sent, time.time() if good else None, name, reaches))

    async def _sent(
        self, method: str, address: str, path: str, headers: dict[str, str], body: Any
    ) -> httpx.Response | None:
        operator = headers.get("Holdfast-Actor", "").startswith("operator:")
        headers = {"Authorization": f"Bearer {self.operators_secret if operator else self.secret}"} | headers
        try:
            return await self.http.request(
                method, f"{address}{path}", json=body, headers=headers, timeout=_TIMEOUT_SECONDS
            )
        except httpx.TransportError as error:
            self.seen.broken[type(error).__name__] += 1
            return None
