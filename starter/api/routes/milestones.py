"""Milestones: what is agreed, submitted, reviewed, taken back. Source: http-contract.md, "Routes"."""

from datetime import date

from fastapi import APIRouter, Request, Response

from models import commands
from models.escrow import Escrow
from models.fields import Amount, Document, EvidenceList, Line, Text
from starter.api.asking import Ask, Json
from starter.api.commanding import COMMANDED, commanded, seen
from starter.api.once import Asked, OnceRoute
from starter.api.parts import escrow_with
from starter.api.views import EscrowView, MilestoneView, tag

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["milestones"])


class MilestoneChange(Document):
    """What is to be changed of a milestone, before funding."""

    title: Line | None = None
    description: Text | None = None
    amount: Amount | None = None
    due: date | None = None


class Submission(Document):
    """What shows that the work is done."""

    evidence: EvidenceList = ()


class Rejection(Document):
    """What has to be changed."""

    reason: Text


class Reversal(Document):
    """How much goes back to the buyer, in minor units, and why."""

    amount: Amount
    reason: Text


@router.post("/escrows/{escrow}/milestones", responses=COMMANDED)
async def add_milestone(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[commands.MilestoneDraft]
) -> EscrowView:
    """Add a milestone at the end, only in `created`."""
    return await commanded(request, response, asked, commands.AddMilestone, escrow, **dict(body))


@router.get("/milestones/{milestone}")
async def get_milestone(response: Response, asked: Ask, milestone: str) -> MilestoneView:
    """One milestone as it stands; the `ETag` is the escrow's."""
    escrow = await escrow_of(asked, milestone)
    tag(response, escrow)
    return next(one for one in seen(asked, escrow).milestones if one.id == milestone)


@router.put("/milestones/{milestone}", responses=COMMANDED)
async def change_milestone(
    request: Request, response: Response, asked: Ask, milestone: str, body: Json[MilestoneChange]
) -> EscrowView:
    """Change a milestone in place, only in `created`."""
    return await _commanded(
        request, response, asked, commands.ChangeMilestone, milestone, {k: v for k, v in body if v is not None}
    )


@router.post("/milestones/{milestone}/submit", responses=COMMANDED)
async def submit_milestone(
    request: Request, response: Response, asked: Ask, milestone: str, body: Json[Submission] | None = None
) -> EscrowView:
    """The seller says that it is done; under mode `auto` the review window begins."""
    said = dict(body) if body else {}
    return await _commanded(request, response, asked, commands.SubmitMilestone, milestone, said)


@router.post("/milestones/{milestone}/withdraw", responses=COMMANDED)
async def withdraw_submission(request: Request, response: Response, asked: Ask, milestone: str) -> EscrowView:
    """The seller takes a mistaken submission back before it is reviewed; the clock stops."""
    return await _commanded(request, response, asked, commands.WithdrawSubmission, milestone, {})


@router.post("/milestones/{milestone}/approve", responses=COMMANDED)
async def approve_milestone(request: Request, response: Response, asked: Ask, milestone: str) -> EscrowView:
    """The buyer accepts it: its money is released."""
    return await _commanded(request, response, asked, commands.ApproveMilestone, milestone, {})


@router.post("/milestones/{milestone}/reject", responses=COMMANDED)
async def reject_milestone(
    request: Request, response: Response, asked: Ask, milestone: str, body: Json[Rejection]
) -> EscrowView:
    """The buyer asks for changes: it returns to the seller and the clock stops."""
    return await _commanded(request, response, asked, commands.RejectMilestone, milestone, dict(body))


@router.post("/milestones/{milestone}/reverse", responses=COMMANDED)
async def reverse_milestone(
    request: Request, response: Response, asked: Ask, milestone: str, body: Json[Reversal]
) -> EscrowView:
    """Return a part to the buyer: out of what is held, or after its release out of what the seller has or owes."""
    return await _commanded(request, response, asked, commands.ReverseMilestone, milestone, dict(body))


async def escrow_of(asked: Asked, milestone: str) -> Escrow:
    """The escrow of a milestone, if both are the asker's to see. Raises 404 otherwise."""
    return await escrow_with(asked, "milestone", milestone)


async def _commanded(
    request: Request,
    response: Response,
    asked: Asked,
    kind: type[commands.Command],
    milestone: str,
    said: dict[str, object],
) -> EscrowView:
    escrow = await escrow_of(asked, milestone)
    return await commanded(request, response, asked, kind, escrow.id, milestone=milestone, **said)
