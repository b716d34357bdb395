"""Who asks and who is dealt with; what was sent, and where events go."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import Field

from holdfast_client.answers.record import Record


class NewTenant(Record):
    """A tenant with its keys, which are shown this once. ``id`` names the live books, ``test_id`` the test keys'."""

    id: str
    test_id: str
    test_key: str = Field(repr=False)
    live_key: str = Field(repr=False)
    operator_test_key: str = Field(repr=False)
    operator_live_key: str = Field(repr=False)


class Tenant(Record):
    """Whose books a key opens, with which rights, and for whom it acts here: ``operator``, ``buyer:alice``."""

    id: str
    name: str
    mode: str
    reporting_currency: str
    role: str
    actor: str


class Key(Record):
    """An API key by its last characters."""

    id: str
    role: str
    name: str
    ending: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """A key that was just made; ``key`` is shown this once."""

    key: str = Field(repr=False)


class JwtKey(Record):
    """A registered public key; its id is the tokens' ``kid``."""

    id: str
    name: str
    algorithm: str
    public_key: str
    created_at: datetime
    revoked_at: datetime | None


class Party(Record):
    """A party. While it is ``blocked`` its money is frozen; ``invalid_destination`` is where money came back from."""

    id: str
    name: str | None
    email: str | None
    language: str | None
    kyc_status: str
    payout_destination: str | None
    invalid_destination: str | None
    blocked: bool
    blocked_because: str | None
    created_at: datetime


class Screening(Record):
    """What a screening found: ``told`` payouts that were held were asked to be looked at again."""

    provider: str
    kyc_status: str
    blocked: bool
    told: int


class Clock(Record):
    """The tenant's time, and how far it is ahead. ``escrows`` wait for a deadline; after a move, did so before it."""

    now: datetime
    offset: timedelta
    escrows: int


class CommandStatus(Record):
    """What became of a command: ``accepted``, ``refused`` with a ``code``, or ``unknown``: not decided."""

    id: str
    escrow: str | None = None
    name: str | None = None
    status: str
    code: str | None = None
    message: str | None = None


class Event(Record):
    """Something that happened. ``sequence`` counts the tenant's events; None: not counted yet."""

    id: str
    type: str
    sequence: int | None
    timestamp: datetime
    tenant: str
    livemode: bool
    escrow: str | None
    version: int | None
    data: dict[str, Any]


class Endpoint(Record):
    """Where events are posted. ``failing_since`` is the first of the failures since its last success."""

    id: str
    url: str
    description: str
    events: list[str]
    status: str
    disabled_because: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime


class NewEndpoint(Endpoint):
    """The endpoint with its secret, which is shown this once: ``holdfast_client.webhooks.verified`` takes it."""

    secret: str = Field(repr=False)


class Delivery(Record):
    """One event for one endpoint: what was tried, and when it is tried next."""

    id: str
    endpoint: str
    event: str
    sequence: int
    status: str
    attempts: int
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime


class Redelivered(Record):
    """The deliveries that are due now."""

    data: list[Delivery]
