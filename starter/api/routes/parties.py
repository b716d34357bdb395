"""Parties: who buys and sells, as far as the tenant tells.

Source: http-contract.md, "Routes"; domain.md, section 12.
"""

import asyncio
from typing import Annotated, Final

import structlog
from fastapi import APIRouter
from pydantic import AwareDatetime, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ledger import listings, parties, reads, tenants
from models.errors import RefusedError
from models.facts import KycStatus
from models.fields import Document, Text
from models.parties import PartyDetails
from models.telling import Language
from starter.api.asking import Ask, Json, Limit, StartingAfter, known_party, not_for_parties, operators_only, own_party
from starter.api.commanding import COMMANDED, discreet, pending, seen
from starter.api.once import Asked, OnceRoute
from starter.api.problems import ProblemError
from starter.api.views import Page, PayoutView, View
from starter.arrival import OutcomeUnknownError
from starter.sender import Sender

router = APIRouter(prefix="/v1/parties", route_class=OnceRoute, tags=["parties"])
log = structlog.get_logger(__name__)

# What a party may not say of itself: whether it is verified, and, lest a stolen token send money elsewhere, where to.
_NOT_OF_ITSELF: Final = ("kyc_status", "payout_destination")
_under_way: set["asyncio.Task[None]"] = set()


class PartyDocument(PartyDetails):
    """What is told of a party; what is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Bob", "email": "bob@example.com", "payout_destination": "acct_bob"}}
    )


class Because(Document):
    """Why the party's money freezes. Operators and the platform read it, the party does not."""

    because: Annotated[Text, Field(max_length=300)]


class PartyView(View):
    """A party. While it is ``blocked`` its money is frozen; ``blocked_because`` is not told to the party itself.

    ``invalid_destination`` is an account that money came back from.
    """

    id: str
    name: str | None
    email: str | None
    language: Language | None
    kyc_status: KycStatus
    payout_destination: str | None
    invalid_destination: str | None
    blocked: bool
    blocked_because: str | None
    created_at: AwareDatetime


class ScreeningView(View):
    """What a screening found: ``told`` payouts that were held were asked to be looked at again."""

    provider: str
    kyc_status: KycStatus
    blocked: bool
    told: int


@router.get("")
async def list_parties(asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None) -> Page[PartyView]:
    """Parties of whom something was told, newest first."""
    not_for_parties(asked, "the list of parties")
    found = await run_in_threadpool(
        parties.list_parties, asked.engine, asked.keyring, asked.tenant, limit + 1, starting_after
    )
    page, more = listings.cut_off(found, limit)
    return Page(data=[_seen(asked, one) for one in page], has_more=more)


@router.put("/{party}")
async def put_party(asked: Ask, party: str, body: Json[PartyDocument]) -> PartyView:
    """Tell of a party, new or known. It is then screened, which the answer does not wait for.

    A party itself may tell its name, address and language.
    """
    own_party(asked, known_party(party, 422))
    told = body.model_dump(exclude_none=True)
    if denied := [name for name in _NOT_OF_ITSELF if name in told]:
        not_for_parties(asked, f"to set {' and '.join(denied)}")
    await run_in_threadpool(tenants.put_party, asked.engine, asked.tenant, party, keys=asked.keyring, **told)
    _screen_behind(asked.sender, asked.tenant, party)
    return await _party(asked, party)


@router.get("/{party}")
async def get_party(asked: Ask, party: str) -> PartyView:
    """A party of which something was told."""
    own_party(asked, known_party(party))
    return await _party(asked, party)


@router.delete("/{party}/personal-data", status_code=204)
async def forget_party(asked: Ask, party: str) -> None:
    """Forget who a party is: name, address and language go, for good. Its money, and what was recorded of it, stay.

    For operators. A party that nobody told of is forgotten already. Requests of before about the party are not carried
    out again: under their keys they are answered 410. One that is under way at the same moment may come after it.
    """
    operators_only(asked, "forgetting who a party is")
    await run_in_threadpool(tenants.erase_party, asked.engine, asked.keyring, asked.tenant, known_party(party))


@router.post("/{party}/block")
async def block_party(asked: Ask, party: str, body: Json[Because]) -> PartyView:
    """Freeze a party's money: nothing of its escrows moves. For operators."""
    operators_only(asked, "blocking a party")
    await run_in_threadpool(tenants.block_party, asked.engine, asked.tenant, known_party(party), body.because)
    return await _party(asked, party)


@router.post("/{party}/unblock")
async def unblock_party(asked: Ask, party: str) -> PartyView:
    """Let a party's money move again. It is then screened, which also asks for the payouts that had waited."""
    operators_only(asked, "unblocking a party")
    await run_in_threadpool(tenants.block_party, asked.engine, asked.tenant, known_party(party), None)
    _screen_behind(asked.sender, asked.tenant, party)
    return await _party(asked, party)


@router.post("/{party}/screen", responses=COMMANDED)
async def screen_party(asked: Ask, party: str) -> ScreeningView:
    """Have a party screened now, and wait for what is found; 202 while the provider has not answered. For operators."""
    operators_only(asked, "having a party screened")
    try:
        found = await asked.sender.screen_party(asked.tenant, known_party(party))
    except OutcomeUnknownError as error:
        return pending(asked, error, f"/v1/parties/{party}")  # type: ignore[return-value]
    return ScreeningView.model_validate(found.model_dump())


@router.post("/{party}/payouts", responses=COMMANDED)
async def request_payouts(asked: Ask, party: str) -> Page[PayoutView]:
    """Ask for all of a party's payouts that are held, as the manual trigger wants it; answers them as they now are.

    What still has to wait keeps its ``hold``.
    """
    own_party(asked, known_party(party))
    held = await asked.settled("held", lambda: _held(asked, party))
    try:
        await asked.sender.request_payouts(asked.tenant, party, asked.principal.actor, asked.key, asked.origin)
    except OutcomeUnknownError as error:
        return pending(asked, error, f"/v1/payouts?party={party}")  # type: ignore[return-value]
    except RefusedError as error:
        raise discreet(asked, error) from error
    data = await run_in_threadpool(_payouts, asked, held)
    return Page(data=data, has_more=False)


async def _party(asked: Asked, party: str) -> PartyView:
    found = await run_in_threadpool(parties.party, asked.engine, asked.keyring, asked.tenant, party)
    if found is None:
        raise ProblemError(404, f"there is no party {party}: nothing was told of it yet")
    return _seen(asked, found)


def _seen(asked: Asked, party: parties.PartyView) -> PartyView:
    known = {name: getattr(party, name) for name in PartyView.model_fields}
    return PartyView(**known | ({"blocked_because": None} if asked.principal.party else {}))


def _held(asked: Asked, party: str) -> list[list[str]]:
    return [[payout, escrow] for payout, escrow in reads.held_payouts(asked.engine, asked.tenant, party)]


def _payouts(asked: Asked, held: list[list[str]]) -> list[PayoutView]:
    """The payouts as they stand, newest first."""
    wanted = {payout for payout, _ in held}
    escrows = (reads.escrow(asked.engine, one) for one in dict.fromkeys(escrow for _, escrow in held))
    found = [payout for escrow in escrows if escrow for payout in seen(asked, escrow).payouts if payout.id in wanted]
    return sorted(found, key=lambda one: one.id, reverse=True)


def _screen_behind(sender: Sender, tenant: str, party: str) -> None:
    """Have the party screened while nobody waits. Should that fail, an operator can ask for it again."""

    async def screen() -> None:
        try:
            await sender.screen_party(tenant, party)
        except Exception as error:  # noqa: BLE001 - whatever it is, the party has been written down
            log.warning("a party was not screened", tenant=tenant, party=party, error=type(error).__name__)

    task = asyncio.create_task(screen(), name=f"screening {party}")
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
