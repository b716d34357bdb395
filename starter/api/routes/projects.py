"""The routes of the milestone feature document, and the top-up of the spend-policy document, over the same commands.

A project is an escrow. Amounts are in major units here, as JSON numbers with the currency's decimals. Sources: the
documents "Milestone & Payment System" (its endpoints and forms) and "Buyer Spend Policy"; http-contract.md, "The routes
of the milestone feature document"; domain.md, section 3, for the status words.
"""

import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator
from starlette.concurrency import run_in_threadpool

from ledger import records
from models import commands
from models.commands import Command
from models.errors import RefusedError
from models.escrow import RELEASED_MILESTONE, Escrow, Milestone
from models.fields import Document, Evidence, Line, PartyId, Text
from models.ids import made_at
from models.money import MAX_AMOUNT, Money
from models.states import MilestoneStatus, State
from starter.api.asking import Ask, Json
from starter.api.commanding import COMMANDED, command, discreet, pending, visible_escrow
from starter.api.once import Asked, KeylessRoute, OnceRoute
from starter.api.problems import ProblemError
from starter.api.routes.milestones import escrow_of
from starter.api.routes.wallets import ChargeView, TopUp, topped_up
from starter.api.views import View
from starter.arrival import OutcomeUnknownError
from starter.reports.formats import major

router = APIRouter(prefix="/api/projects", route_class=KeylessRoute, tags=["projects"])
wallet = APIRouter(prefix="/api/v1/wallet", route_class=OnceRoute, tags=["projects"])

_STATUS_WORDS: Final = {MilestoneStatus.PENDING: "not_submitted"}  # the others are the document's own
_LINKS: Final = ("http://", "https://")

Major = Annotated[Decimal, WithJsonSchema({"type": "number"})]
# Bounded before anything is made of it: "1e60000000" is short, and written out it is not.
Payment = Annotated[
    Decimal, Field(gt=0, le=MAX_AMOUNT, max_digits=20, decimal_places=4), WithJsonSchema({"type": "number"})
]


class ProjectMilestoneUpdate(Document):
    """What a milestone is to be: what is left out stays. ``supporting_doc`` is a URL or the name of a file."""

    name: Line | None = None
    description: Text | None = None
    relative_payment: Payment | None = None
    supporting_doc: Annotated[str, Field(min_length=1, max_length=2000)] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Design & Mockups",
                "description": "Create design mockups and get approval",
                "relative_payment": 1500.00,
                "supporting_doc": "https://files.example.com/file.pdf",
            }
        }
    )

    @field_validator("supporting_doc")
    @classmethod
    def _evidence_can_be_made_of_it(cls, said: str | None) -> str | None:
        if said is not None:
            _evidence(said)
        return said


class ProjectMilestone(View):
    """A milestone under the document's names. ``completion_date`` is when it was approved."""

    id: str
    project_id: str
    name: str
    description: str | None
    status: str
    relative_payment: Major
    supporting_doc: str | None
    created_date: AwareDatetime
    completion_date: AwareDatetime | None

    @classmethod
    def of(cls, escrow: Escrow, milestone: Milestone, settled: dict[str, datetime]) -> Self:
        """The view of a milestone; ``settled`` says when each of the escrow's was settled for good."""
        released = milestone.status in RELEASED_MILESTONE
        return cls(
            id=milestone.id,
            project_id=escrow.id,
            name=milestone.title,
            description=milestone.description,
            status=_STATUS_WORDS.get(milestone.status, milestone.status),
            relative_payment=Decimal(major(milestone.amount, escrow.currency)),
            supporting_doc=_document(milestone),
            created_date=made_at(milestone.id),
            completion_date=settled.get(milestone.id) if released else None,
        )

    def written(self) -> str:
        """As JSON, in which the amount is a number with the currency's decimals, such as 1500.00."""
        fields = self.model_dump(mode="json")
        parts = {name: json.dumps(value) for name, value in fields.items()}
        parts["relative_payment"] = f"{self.relative_payment:f}"
        return "{" + ", ".join(f'"{name}": {value}' for name, value in parts.items()) + "}"


class WalletTopUp(TopUp):
    """What to charge, in minor units; ``party`` names the buyer where nobody else does."""

    party: PartyId | None = None


@router.get("/{escrow}/milestones/", response_model=list[ProjectMilestone])
async def list_project_milestones(asked: Ask, escrow: str) -> Response:
    """A project's milestones, in their order: there are few, and the document knows no pages."""
    found = await visible_escrow(asked, escrow)
    settled = await run_in_threadpool(records.completions, asked.engine, found.id)
    shown = [ProjectMilestone.of(found, one, settled).written() for one in found.milestones]
    return _json(f"[{', '.join(shown)}]")


@router.get("/milestones/{milestone}/", response_model=ProjectMilestone)
async def get_project_milestone(asked: Ask, milestone: str) -> Response:
    """One milestone as it stands."""
    return await _shown(asked, await escrow_of(asked, milestone), milestone)


@router.put("/milestones/{milestone}/", response_model=ProjectMilestone, responses=COMMANDED)
async def update_project_milestone(
    request: Request, asked: Ask, milestone: str, body: Json[ProjectMilestoneUpdate]
) -> Response:
    """Before funding: change name, description or payment, all of which are locked afterwards. After it: the seller
    submits the milestone for approval, by naming its supporting document.

    What stays as it is may be repeated, as a PUT does; what would change nothing sends no command.
    """
    escrow = await escrow_of(asked, milestone)
    current = next(one for one in escrow.milestones if one.id == milestone)
    if changes := _changes(escrow, current, body):
        if body.supporting_doc is not None and escrow.state == State.CREATED:
            raise ProblemError(422, "supporting_doc: it comes with the work, once the project is funded; leave it out")
        return await _commanded(request, asked, commands.ChangeMilestone, escrow, milestone, **changes)
    evidence = () if body.supporting_doc is None else (_evidence(body.supporting_doc),)
    if not evidence or (current.status == MilestoneStatus.SUBMITTED and current.evidence == evidence):
        return await _shown(asked, escrow, milestone)
    return await _commanded(request, asked, commands.SubmitMilestone, escrow, milestone, evidence=evidence)


@router.post("/milestones/{milestone}/approve/", response_model=ProjectMilestone, responses=COMMANDED)
async def approve_project_milestone(request: Request, asked: Ask, milestone: str) -> Response:
    """The buyer approves: its payment is released."""
    escrow = await escrow_of(asked, milestone)
    return await _commanded(request, asked, commands.ApproveMilestone, escrow, milestone)


@wallet.post("/topup", status_code=201, responses=COMMANDED)
async def top_up_wallet(asked: Ask, body: Json[WalletTopUp]) -> ChargeView:
    """Charge a payment method for the wallet of the buyer who asks, or of the `party` that the platform names."""
    party = body.party or asked.principal.party
    if party is None:
        raise ProblemError(422, "party: name the buyer whose wallet it is, or send Holdfast-Actor: buyer:<party>")
    what = TopUp(amount=body.amount, currency=body.currency, payment_method=body.payment_method)
    return await topped_up(asked, party, what)


async def _commanded(
    request: Request, asked: Asked, kind: type[Command], escrow: Escrow, milestone: str, **said: Any
) -> Response:
    try:
        after = await command(request, asked, kind, escrow.id, milestone=milestone, **said)
    except OutcomeUnknownError as error:
        return pending(asked, error)
    except RefusedError as error:
        raise discreet(asked, error) from error
    return await _shown(asked, after, milestone)


async def _shown(asked: Asked, escrow: Escrow, milestone: str) -> Response:
    settled = await run_in_threadpool(records.completions, asked.engine, escrow.id)
    found = next(one for one in escrow.milestones if one.id == milestone)
    return _json(ProjectMilestone.of(escrow, found, settled).written())


def _changes(escrow: Escrow, milestone: Milestone, said: ProjectMilestoneUpdate) -> dict[str, Any]:
    """What would be different, under the command's names. Raises 422 for more decimals than the currency has."""
    wanted: dict[str, Any] = {"title": said.name, "description": said.description}
    if said.relative_payment is not None:
        try:
            wanted["amount"] = Money.parse(f"{said.relative_payment:f}", escrow.currency).amount
        except ValueError as error:
            raise ProblemError(422, f"relative_payment: {error}") from error
    return {name: value for name, value in wanted.items() if value not in {None, getattr(milestone, name)}}


def _evidence(document: str) -> Evidence:
    """A URL, or the name of a file. Raises ``ValueError`` for what is neither."""
    try:
        if document.startswith(_LINKS):
            return Evidence(name=document.rpartition("/")[2][:200] or "supporting document", url=document)
        return Evidence(name=document)
    except ValidationError:
        raise ValueError("expected an http or https URL, or a file's name of at most 200 characters") from None


def _document(milestone: Milestone) -> str | None:
    """What was handed in last, by where it is or by its name."""
    last = milestone.evidence[-1] if milestone.evidence else None
    return None if last is None else last.url or last.name


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
