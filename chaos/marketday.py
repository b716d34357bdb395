"""The day: tenants with rich buyers are made, clients trade until it is over, then banks decide what they contested.

One tenant trades in real time; another, small one moves its test clock, so that deadlines come.
"""

import asyncio
import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from chaos import deals
from chaos.callers import Caller, Seen
from starter.embedded.stack import Endpoints

SELLERS: Final = 10
_WEALTH: Final = 100_000_000_000
_BACK_OFFICE_SECONDS: Final = 2.0
_CONTESTED: Final = 0.03
_OUTCOMES: Final = ("release", "refund", "split", "reversal")
_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Market:
    """A tenant's test books and its secrets."""

    name: str
    tenant: str
    secret: str
    operators_secret: str


@dataclass(frozen=True)
class Load:
    """How many clients trade, of which the last ``hurried`` in the tenant whose clock moves, and in which deals."""

    clients: int
    hurried: int = 0
    kinds: tuple[deals.Deal, ...] = deals.MIXED
    contests: bool = True


async def open_markets(endpoints: Endpoints, address: str, load: Load) -> list[Market]:
    """Make both tenants, whose buyers have money and whose sellers have accounts."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as http:
        return [await _open(http, endpoints.bootstrap_secret, name, load) for name in ("Day", "Hurry")]


async def _open(http: httpx.AsyncClient, bootstrap: str, name: str, load: Load) -> Market:
    async def tell(bearer: str, method: str, path: str, body: object) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": f"{name}:{path}"}
        answer = await http.request(method, path, json=body, headers=headers)
        if not answer.is_success:
            raise RuntimeError(f"{method} {path}: {answer.text}")
        told: dict[str, str] = answer.json()
        return told

    made = await tell(bootstrap, "POST", "/v1/tenants", {"name": name, "reporting_currency": "EUR"})
    key = made["test_key"]
    rules = [{"outcome": one, "rate": "0.10"} for one in _OUTCOMES]
    await tell(key, "POST", "/v1/policies/fees", {"rules": rules})
    await tell(key, "POST", "/v1/policies/release", {"mode": "auto", "review_window": "P14D"})
    for number in range(SELLERS):
        await tell(key, "PUT", f"/v1/parties/seller{number}", {"payout_destination": _first_account(name, number)})
    buyers = load.hurried if name == "Hurry" else load.clients - load.hurried
    top_up = {"amount": _WEALTH // max(load.clients, 1), "currency": "EUR", "payment_method": "pm_card_visa"}
    await asyncio.gather(*(tell(key, "POST", f"/v1/wallets/buyer{one}/topups", top_up) for one in range(buyers)))
    return Market(name, made["test_id"], key, made["operator_test_key"])


def _first_account(market: str, seller: int) -> str:
    return f"acct_{market.lower()}{seller}"


async def trade(
    load: Load, markets: Sequence[Market], addresses: list[str], sandbox: str, seed: int, end: threading.Event
) -> Seen:
    """Let everyone trade until ``end``, and finish what they have begun; answers what they saw."""
    seen = Seen()
    for market, number in itertools.product(markets, range(SELLERS)):
        seen.name(market.tenant, f"seller{number}", _first_account(market.name, number))
    limits = httpx.Limits(max_connections=load.clients * 4)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as http:

        def caller(market: Market, name: str) -> Caller:
            chance = random.Random(f"{seed} {name}")  # noqa: S311 - chance, nothing secret
            return Caller(http, addresses, market.tenant, market.secret, market.operators_secret, seen, chance)

        async def client(number: int) -> None:
            hurried = number >= load.clients - load.hurried
            market = markets[1 if hurried else 0]
            buyer = number - (load.clients - load.hurried) if hurried else number
            one = caller(market, f"client {number}")
            while not end.is_set():
                parties = deals.Parties(one, f"buyer{buyer}", f"seller{number % SELLERS}")
                if load.contests and not hurried and one.chance.random() < _CONTESTED:
                    await deals.contested(parties, sandbox)
                    seen.deals["contested"] += 1
                    continue
                deal = deals.silence if hurried and one.chance.random() < 0.7 else one.chance.choice(load.kinds)
                parties.sure = deal in deals.IN_TURN and not hurried
                await deal(parties)
                seen.deals[deal.__name__] += 1

        async def office(market: Market) -> None:
            one, rounds = caller(market, f"office {market.tenant}"), itertools.count()
            while not end.is_set():
                await deals.back_office(one, rounds)
                await asyncio.sleep(_BACK_OFFICE_SECONDS)

        offices = [office(market) for market in markets] if load.contests else []
        await asyncio.gather(*map(client, range(load.clients)), *offices)
    return seen


def banks_decide(sandbox: str, books: Path, seed: int) -> None:
    """Have every bank that contests a payment decide. Returns when none is open any more, or after a minute."""
    chance = random.Random(seed)  # noqa: S311 - chance, nothing secret
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while (contested := _open_disputes(books)) and time.monotonic() < give_up:
        for reference in contested:
            document: dict[str, Any] = {"reference": reference, "status": chance.choice(["won", "lost"])}
            with suppress(httpx.HTTPError):
                httpx.post(f"{sandbox}/sandbox/happenings/decide", json=document, trust_env=False, timeout=5)


def _open_disputes(books: Path) -> list[str]:
    with sqlite3.connect(f"file:{books}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT id FROM objects WHERE kind = 'dispute' AND json_extract(body, '$.status') = 'needs_response'"
        )
        return [row[0] for row in rows]
