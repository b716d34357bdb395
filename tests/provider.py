"""The payment provider's webhooks in the hands of a test: bodies, signatures, and what became of the events."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, text

from activities.gateway_events import GatewayEventActivities
from activities.gateways.port import Succeeded
from activities.ledger import LedgerActivities
from ledger.books import Books
from ledger.engine import connect
from ledger.gateway_events import GatewayEvents, receive
from models.charges import ChargeResult, charge_of
from models.commands import Fund
from models.escrow import Escrow
from models.gateway_events import GatewayEvent, Step
from starter.api.stripe_events import verified
from starter.delivery import ensure_gateway_events
from starter.embedded.stack import Endpoints
from starter.sandbox.webhooks import sign
from tests.builders import order
from tests.market import GATEWAY, Market
from tests.servers import Servers
from tests.workers import Workers, gateway
from tests.workflow.scene import Scene, seals
from worker import gateway_events_worker
from workflows import timeouts


def body_of(event: dict[str, Any]) -> str:
    """An event as it is posted."""
    return json.dumps(event)


def an_event(kind: str, **about: Any) -> dict[str, Any]:
    """An event that the sandbox did not make, about an object with these fields."""
    return {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": kind,
        "created": int(datetime.now(UTC).timestamp()),
        "data": {"object": about},
    }


def read(endpoints: Endpoints, event: dict[str, Any]) -> GatewayEvent:
    """The event as the door reads it, signed by the provider just now."""
    body, secret = body_of(event), endpoints.stripe_webhook_secret
    return verified(body.encode(), sign(body, secret, int(datetime.now(UTC).timestamp())), secret)


def tell(engine: Engine, endpoints: Endpoints, *events: dict[str, Any]) -> list[bool]:
    """Have events verified and stored, in this order, as the API does; answers which of them were new."""
    return [receive(engine, "stripe", read(endpoints, event)) for event in events]


def row(engine: Engine, event: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an event."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM gateway_event WHERE id = :id"), {"id": event["id"]})
        return dict(found.mappings().one())


@asynccontextmanager
async def listening(scene: Scene) -> AsyncIterator[None]:
    """All workers that an escrow needs, and the one that applies what the provider tells."""
    engine = connect(scene.servers.endpoints.database_url, timeouts.GATEWAY_EVENTS_LANES)
    provider = gateway(scene.servers.endpoints)
    sealing = seals(scene.servers)
    ledger = LedgerActivities(Books(engine, seals=sealing), provider.name)
    looking = GatewayEventActivities(GatewayEvents(engine), provider.records(), sealing)
    with Workers(scene.servers):
        async with gateway_events_worker(scene.client, ledger, looking):
            await ensure_gateway_events(scene.client)
            yield
    engine.dispose()


def looking(servers: Servers, later: timedelta = timedelta(0)) -> GatewayEventActivities:
    """Who judges events, on a clock that is so much ahead."""
    records = gateway(servers.endpoints).records()
    return GatewayEventActivities(GatewayEvents(servers.engine), records, None, now=lambda: datetime.now(UTC) + later)


def judged(servers: Servers, event: dict[str, Any], later: timedelta = timedelta(0)) -> Step:
    """What a stored event calls for."""
    return looking(servers, later).judge(row(servers.engine, event)["number"])


def by_card(servers: Servers, market: Market, amount: int = 500000) -> tuple[Escrow, str]:
    """An escrow that a card has funded, in the books and at the provider; and the key of the charge."""
    escrow = market.create(amount=amount, milestones=(amount,))
    fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
    key = charge_of(fund)
    charged(servers, market, key, amount)
    return market.accept(fund), key


def charged(servers: Servers, market: Market, key: str, amount: int) -> None:
    """A charge that both the provider and the books know as succeeded."""
    order_of = market.charge(amount).model_copy(update={"id": key})
    market.books.begin_charge(order_of)
    said = gateway(servers.endpoints).charge(
        key=key, party="alice", payment_method="pm_card_visa", amount=amount, currency="EUR", metadata={}
    )
    assert isinstance(said, Succeeded)
    market.books.settle_charge(ChargeResult(id=key, status="succeeded", reference=said.reference), GATEWAY)
