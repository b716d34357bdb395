"""Markets with webhook endpoints, and a postman who may go to this machine."""

from typing import Any

import psycopg
import pytest

from activities.webhooks import Postman
from ledger import webhooks
from ledger.engine import connect, for_tenant
from ledger.keyring import Keyring
from ledger.posting import Posting, PostingQueue
from ledger.webhooks import Delivery, NewSecret
from models.errors import ErrorCode, RefusedError
from tests.market import KEYS, Market
from tests.servers import Connection, Servers
from tests.telling import run


class Town(Market):
    """A market that registers endpoints as the API does: in a role that sees this tenant alone."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers.engine)
        self.pool = connect(servers.endpoints.api_database_url, 8)
        self.api = for_tenant(self.pool, self.tenant)


def queue(market: Market) -> PostingQueue:
    """What is to be posted."""
    return PostingQueue(market.engine)


def postman(market: Market, keys: Keyring = KEYS, **said: Any) -> Postman:
    """A postman who may go to this machine."""
    return Postman(queue(market), keys, allow_loopback=True, **said)


def number(market: Market) -> None:
    """Give every event its number."""
    while queue(market).number():
        pass


def register(market: Town, url: str, *types: str) -> NewSecret:
    """An endpoint of the market, from the next event on."""
    number(market)
    return webhooks.create_endpoint(market.api, KEYS, market.tenant, url, types or ["*"])


def post_all(market: Market, man: Postman | None = None) -> None:
    """Number, and post all that is due."""
    number(market)
    while (man or postman(market)).post_next():
        pass


def make_due(market: Market) -> None:
    """Let the time of every next attempt come."""
    run(market.engine, "UPDATE webhook_delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
    rests(market)


def rests(market: Market) -> None:
    """Let the rest of every endpoint be over: the owner of the tables may do what the program need not."""
    run(market.engine, "UPDATE webhook_endpoint SET rest_until = NULL")


def deliveries(market: Town, made: NewSecret) -> list[Delivery]:
    """The endpoint's deliveries, oldest first."""
    return webhooks.deliveries(market.api, market.tenant, made.endpoint.id, 100)[::-1]


def endpoint(market: Town, made: NewSecret) -> webhooks.Endpoint:
    """The endpoint as it is now."""
    return webhooks.endpoint(market.api, market.tenant, made.endpoint.id)


def knocking(servers: Servers) -> Connection:
    """A connection in the API's role."""
    return psycopg.connect(servers.endpoints.api_database_url.replace("+psycopg", ""))


def code(error: pytest.ExceptionInfo[RefusedError]) -> ErrorCode:
    """Why it was refused."""
    return error.value.refusal.kind


def claims(market: Market, most: int = 50) -> list[Posting]:
    """Everything that would be called side by side now."""
    found = [queue(market).claim() for _ in range(most)]
    return [one for one in found if one is not None]
