"""Where a tenant wants its events posted, what became of each posting, and the feed of all events.

For the platform itself: a buyer or seller has no business here. Source: http-contract.md, "Routes".
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ledger import events, webhooks
from ledger.webhooks import LONGEST_OVERLAP, OVERLAP
from models.destinations import MAX_URL_CHARACTERS, Destination, DestinationRefusedError
from models.fields import Document, Duration, EscrowId, Line
from models.webhooks import MAX_TYPES
from starter.api.asking import Ask, Json, Limit, StartingAfter, known_id, not_for_parties
from starter.api.commanding import new_id
from starter.api.names import Names
from starter.api.once import Asked, OnceRoute
from starter.api.problems import ProblemError
from starter.api.routes.records import EventView
from starter.api.views import Page, View

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["webhooks"])

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        description="https, to a public address, without credentials and without a fragment.",
    ),
]
Types = Annotated[
    tuple[Annotated[str, Field(max_length=100)], ...],
    Field(min_length=1, max_length=MAX_TYPES, description="Types of events: `payout.paid`, `payout.*`, or `*`."),
]


class NewEndpoint(Document):
    """Where events are to be posted, and which."""

    url: Url
    events: Types = ("*",)
    description: Line | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "url": "https://hooks.example.com/holdfast",
                "events": ["escrow.*", "payout.*"],
                "description": "the shop",
            }
        }
    )


class EndpointChange(Document):
    """What is to be changed. What waits goes to the new address."""

    url: Url | None = None
    events: Types | None = None
    description: Line | None = None


class SecretRotation(Document):
    """For how long the secret that is replaced signs too: up to seven days."""

    overlap: Annotated[Duration, Field(ge=timedelta(0), le=LONGEST_OVERLAP)] = OVERLAP


class Redelivery(Document):
    """To one endpoint, whatever types it asked for; without it, to all that want the event."""

    endpoint: Annotated[str, Field(max_length=100)] | None = None


class EndpointView(View):
    """An endpoint. ``failing_since`` is the first of the failures since its last success."""

    id: str
    url: str
    description: str
    events: list[str]
    status: Literal["enabled", "disabled"]
    disabled_because: Annotated[
        Literal["failing", "gone"] | None, Field(description="`failing`: for five days; `gone`: it answered 410.")
    ]
    disabled_at: AwareDatetime | None
    failing_since: AwareDatetime | None
    created_at: AwareDatetime


class NewSecretView(EndpointView):
    """The endpoint with a secret that is shown once: Standard Webhooks' ``whsec_`` and base64."""

    secret: str


class DeliveryView(View):
    """One event for one endpoint: what was tried, and when it is tried next."""

    id: str
    endpoint: str
    event: str
    sequence: int
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: AwareDatetime | None
    last_attempt_at: AwareDatetime | None
    last_status: Annotated[int | None, Field(description="The HTTP status that came, if one did.")]
    last_error: str | None
    created_at: AwareDatetime


class Redelivered(View):
    """The deliveries that are due now."""

    data: list[DeliveryView]


@router.post("/webhook-endpoints", status_code=201)
async def create_webhook_endpoint(request: Request, asked: Ask, body: Json[NewEndpoint]) -> NewSecretView:
    """Register where events are posted from now on, and make the secret that signs them."""
    not_for_parties(asked, "a webhook endpoint")
    await _judge(request, asked, body.url)
    made = await run_in_threadpool(
        webhooks.create_endpoint,
        asked.engine,
        asked.keyring,
        asked.tenant,
        body.url,
        body.events,
        body.description or "",
        identifier=new_id("whk", asked),
    )
    return NewSecretView(**_said(made.endpoint), secret=made.secret)


@router.get("/webhook-endpoints")
async def list_webhook_endpoints(
    asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None
) -> Page[EndpointView]:
    """Webhook endpoints, newest first."""
    not_for_parties(asked, "the list of webhook endpoints")
    found = await run_in_threadpool(webhooks.endpoints, asked.engine, asked.tenant)
    rest = [one for one in found if starting_after is None or one.id < starting_after]
    return Page(data=[EndpointView(**_said(one)) for one in rest[:limit]], has_more=len(rest) > limit)


@router.get("/webhook-endpoints/{endpoint}")
async def get_webhook_endpoint(asked: Ask, endpoint: str) -> EndpointView:
    """One endpoint. Its secret is not shown again: rotate it if it is lost."""
    found = await run_in_threadpool(webhooks.endpoint, asked.engine, asked.tenant, _named(asked, endpoint))
    return EndpointView(**_said(found))


@router.patch("/webhook-endpoints/{endpoint}")
async def change_webhook_endpoint(
    request: Request, asked: Ask, endpoint: str, body: Json[EndpointChange]
) -> EndpointView:
    """Change an endpoint's address, its events or its description."""
    identifier = _named(asked, endpoint)
    if body.url is not None:
        await run_in_threadpool(webhooks.endpoint, asked.engine, asked.tenant, identifier)  # 404 comes first
        await _judge(request, asked, body.url)
    changed = await run_in_threadpool(
        webhooks.change_endpoint,
        asked.engine,
        asked.tenant,
        identifier,
        url=body.url,
        types=body.events,
        description=body.description,
    )
    return EndpointView(**_said(changed))


@router.delete("/webhook-endpoints/{endpoint}", status_code=204)
async def delete_webhook_endpoint(asked: Ask, endpoint: str) -> None:
    """Forget an endpoint and its deliveries: nothing more is posted there."""
    await run_in_threadpool(webhooks.delete_endpoint, asked.engine, asked.tenant, _named(asked, endpoint))


@router.post("/webhook-endpoints/{endpoint}/enable")
async def enable_webhook_endpoint(asked: Ask, endpoint: str) -> EndpointView:
    """Post to a disabled endpoint again, from now on; ask for what it missed by redelivery."""
    found = await run_in_threadpool(webhooks.enable_endpoint, asked.engine, asked.tenant, _named(asked, endpoint))
    return EndpointView(**_said(found))


@router.post("/webhook-endpoints/{endpoint}/rotate-secret")
async def rotate_webhook_secret(asked: Ask, endpoint: str, body: Json[SecretRotation] | None = None) -> NewSecretView:
    """Make a new secret. For a day, or the overlap that is asked for, the one that it replaces signs as well."""
    identifier = _named(asked, endpoint)
    overlap = (body or SecretRotation()).overlap
    made = await run_in_threadpool(
        webhooks.rotate_secret,
        asked.engine,
        asked.keyring,
        asked.tenant,
        identifier,
        overlap,
        request=new_id("req", asked),
    )
    return NewSecretView(**_said(made.endpoint), secret=made.secret)


@router.get("/webhook-endpoints/{endpoint}/deliveries")
async def list_webhook_deliveries(
    asked: Ask, endpoint: str, limit: Limit = 20, starting_after: StartingAfter = None
) -> Page[DeliveryView]:
    """What was and will be posted to an endpoint, newest first; finished deliveries are kept for 30 days."""
    identifier = _named(asked, endpoint)
    found = await run_in_threadpool(
        webhooks.deliveries, asked.engine, asked.tenant, identifier, limit + 1, starting_after
    )
    return Page(data=[DeliveryView(**vars(one)) for one in found[:limit]], has_more=len(found) > limit)


@router.get("/events")
async def list_events(
    asked: Ask,
    limit: Limit = 20,
    starting_after: StartingAfter = None,
    kind: Annotated[str | None, Query(alias="type", pattern=r"^[a-z_]{1,50}\.[a-z_]{1,50}$")] = None,
    escrow: Annotated[EscrowId | None, Query()] = None,
) -> Page[EventView]:
    """What happened, newest first: numbered without gaps, in the order of each escrow's events."""
    not_for_parties(asked, "the feed of events")
    found = await run_in_threadpool(events.events, asked.engine, asked.tenant, limit + 1, starting_after, kind, escrow)
    return Page(data=[EventView.model_validate(one.document()) for one in found[:limit]], has_more=len(found) > limit)


@router.get("/events/{event}")
async def get_event(asked: Ask, event: str) -> EventView:
    """One event, as a webhook has it."""
    not_for_parties(asked, "the feed of events")
    found = await run_in_threadpool(events.event, asked.engine, asked.tenant, known_id("evt", event, "event"))
    return EventView.model_validate(found.document())


@router.post("/events/{event}/redeliver")
async def redeliver_event(asked: Ask, event: str, body: Json[Redelivery] | None = None) -> Redelivered:
    """Post an event again, under the same id: to every enabled endpoint that wants it, or to the one named."""
    not_for_parties(asked, "redelivery")
    endpoint = body.endpoint if body else None
    if endpoint is not None:
        known_id("whk", endpoint, "webhook endpoint")
    found = await run_in_threadpool(
        webhooks.redeliver, asked.engine, asked.tenant, known_id("evt", event, "event"), endpoint
    )
    return Redelivered(data=[DeliveryView(**vars(one)) for one in found])


def _named(asked: Asked, endpoint: str) -> str:
    not_for_parties(asked, "a webhook endpoint")
    return known_id("whk", endpoint, "webhook endpoint")


def _said(endpoint: webhooks.Endpoint) -> dict[str, Any]:
    return vars(endpoint)


async def _judge(request: Request, asked: Asked, url: str) -> None:
    """Raise 422 for an address that no webhook may go to. It is looked up and judged again whenever one is posted."""
    allow_loopback: bool = request.app.state.holdfast.config.webhooks_allow_loopback
    names: Names = request.app.state.holdfast.names
    try:
        destination = Destination.parse(url, allow_loopback=allow_loopback)
        destination.judged(await names.addresses(asked.tenant, destination.host, destination.port))
    except DestinationRefusedError as error:
        raise ProblemError(422, f"url: {error}", "url_not_allowed") from None
