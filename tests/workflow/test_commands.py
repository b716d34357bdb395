"""Every command of the platform is a typed update and a signal of the same name, and both come to the same."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from ledger import tenants
from models import commands, ids
from models.commands import Command
from models.decide import PLATFORM_COMMANDS
from models.escrow import Escrow
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import PayoutStatus, State
from tests.builders import a_create, order
from tests.market import Market
from tests.workflow.scene import Scene
from workflows.escrow import EscrowWorkflow
from workflows.inputs import EscrowInput
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Turn:
    """From which state a command is sent, what it says, and the state it leads to."""

    kind: type[Command]
    start: State
    end: State
    fields: dict[str, Any] = field(default_factory=dict)


TURNS = (
    Turn(commands.Amend, State.CREATED, State.CREATED, {"title": "Another title"}),
    Turn(commands.AddMilestone, State.CREATED, State.CREATED, {"amount": 350000}),
    Turn(commands.ChangeMilestone, State.CREATED, State.CREATED, {"milestone": 2, "amount": 1}),
    Turn(commands.Fund, State.CREATED, State.FUNDED),
    Turn(commands.StartWork, State.FUNDED, State.IN_PROGRESS),
    Turn(commands.SubmitMilestone, State.IN_PROGRESS, State.MILESTONE_PENDING),
    Turn(commands.WithdrawSubmission, State.MILESTONE_PENDING, State.IN_PROGRESS),
    Turn(commands.ApproveMilestone, State.MILESTONE_PENDING, State.MILESTONE_APPROVED),
    Turn(commands.RejectMilestone, State.MILESTONE_PENDING, State.IN_PROGRESS),
    Turn(commands.ReverseMilestone, State.IN_PROGRESS, State.IN_PROGRESS, {"amount": 50000}),
    Turn(commands.Complete, State.IN_PROGRESS, State.COMPLETED),
    Turn(commands.Cancel, State.FUNDED, State.CANCELLED),
    Turn(commands.Refund, State.FUNDED, State.REFUNDED),
    Turn(commands.RaiseDispute, State.MILESTONE_PENDING, State.DISPUTED, {"milestones": (1,)}),
    Turn(commands.AddEvidence, State.DISPUTED, State.DISPUTED),
    Turn(commands.ReviewDispute, State.DISPUTED, State.DISPUTED),
    Turn(commands.ResolveDispute, State.DISPUTED, State.COMPLETED, {"resolution": "seller_favor"}),
    Turn(commands.CloseDispute, State.DISPUTED, State.IN_PROGRESS),
    Turn(commands.RequestPayout, State.MILESTONE_APPROVED, State.MILESTONE_APPROVED),
    Turn(commands.RetryPayout, State.MILESTONE_APPROVED, State.MILESTONE_APPROVED),
    Turn(commands.OpenChargeback, State.IN_PROGRESS, State.IN_PROGRESS, {"amount": 500000}),
    Turn(commands.CloseChargeback, State.IN_PROGRESS, State.IN_PROGRESS, {"outcome": "won"}),
)
turns = pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.kind.model_fields["name"].default)


def test_every_command_of_the_table_is_sent_here() -> None:
    """A new row of the table needs its turn; ``create`` has tests of its own below."""
    assert {turn.kind for turn in TURNS} | {commands.Create} == {row.command for row in PLATFORM_COMMANDS}


def ready(market: Market, turn: Turn) -> Escrow:
    """An escrow in the books for which the command is possible."""
    if turn.kind is commands.RequestPayout:
        by_hand = ReleasePolicy(payout=PayoutTerms(trigger="manual"))
        tenants.put_policy(market.engine, market.tenant, "release", by_hand)
    room = {"milestones": (150000,)} if turn.kind is commands.AddMilestone else {}
    escrow = market.at(turn.start, **room)
    if turn.kind is commands.ResolveDispute:
        return market.do(commands.ReviewDispute, escrow)
    if turn.kind is commands.CloseDispute:
        return market.mediate(escrow)
    if turn.kind is commands.CloseChargeback:
        return market.do(commands.OpenChargeback, escrow, amount=500000)
    if turn.kind is commands.RetryPayout:
        sent = market.do(commands.SendPayout, escrow)
        return market.do(commands.RecordPayout, sent, outcome="failed", reason="closed")
    return escrow


def same(one: Escrow, other: Escrow) -> bool:
    """Whether two snapshots agree, but for a payout that may have gone on meanwhile."""
    return one == other or other.version > one.version


@turns
async def test_as_a_typed_update_it_answers_the_new_snapshot(scene: Scene, turn: Turn) -> None:
    """The sender of the update gets the escrow as the books then have it."""
    before = ready(scene.market, turn)
    await scene.start(before)
    command = scene.sealed(order(turn.kind, before, **turn.fields))
    update = getattr(EscrowWorkflow, command.name)
    after: Escrow = await scene.handle(before).execute_update(update, command, id=command.id)
    assert isinstance(after, Escrow)
    assert (after.state, after.version) == (turn.end, before.version + 1)
    assert same(after, scene.market.escrow(before))
    assert (command.name, "accepted") in scene.market.answers(before)


@turns
async def test_as_a_signal_it_has_the_same_effect(scene: Scene, turn: Turn) -> None:
    """Fire and forget: the signal of that name leads to the same state, in the books and in the workflow."""
    before = ready(scene.market, turn)
    await scene.start(before)
    command = scene.sealed(order(turn.kind, before, **turn.fields))
    await scene.handle(before).signal(command.name, command)
    after = await scene.until(before, lambda escrow: escrow.version > before.version)
    assert after.state == turn.end
    assert (command.name, "accepted") in scene.market.answers(before)


async def test_create_as_an_update_starts_the_workflow_and_answers_the_escrow(scene: Scene) -> None:
    """Update-with-start is one call: the workflow runs, the row exists, and what comes back is the row."""
    escrow = await scene.create()
    assert (escrow.state, escrow.version) == (State.CREATED, 1)
    assert scene.market.escrow(escrow) == escrow
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING


async def test_create_as_a_signal_starts_the_workflow_and_the_row_appears(scene: Scene) -> None:
    """Signal-with-start needs no answer to create an escrow."""
    create = scene.sealed(a_create(tenant=scene.market.tenant))
    await scene.client.start_workflow(
        EscrowWorkflow.run,
        EscrowInput(escrow=create.escrow),
        id=ids.escrow_workflow(create.escrow),
        task_queue=TASK_QUEUE,
        start_signal="create",
        start_signal_args=[create],
    )
    nothing = scene.market.create().model_copy(update={"id": create.escrow})
    assert (await scene.until(nothing, lambda escrow: escrow.version == 1)).state == State.CREATED


async def test_creating_costs_one_workflow_task_and_no_activity_task(scene: Scene) -> None:
    """The handler runs before the workflow's first step and finds what it needs, made in its ``init``."""
    escrow = await scene.create()
    events = await scene.history(escrow)
    assert events.count("WORKFLOW_TASK_COMPLETED") == 1
    assert "ACTIVITY_TASK_SCHEDULED" not in events
    assert events.count("WORKFLOW_EXECUTION_UPDATE_COMPLETED") == 1


async def test_a_command_costs_one_workflow_task_and_no_activity_task(scene: Scene) -> None:
    """In the steady state the commit is a local activity: accepted, recorded and answered in one task."""
    escrow = await scene.at(State.FUNDED)
    before = await scene.history(escrow)
    await scene.do(commands.StartWork, escrow)
    added = (await scene.history(escrow))[len(before) :]
    assert added.count("WORKFLOW_TASK_COMPLETED") == 1
    assert "ACTIVITY_TASK_SCHEDULED" not in added


async def test_creating_twice_is_already_exists_and_repeating_the_creation_is_not(scene: Scene) -> None:
    """The same command is answered again; another one for the same escrow is refused."""
    create = a_create(tenant=scene.market.tenant)
    first = await scene.sender.send(create)
    assert await scene.sender.send(create) == first
    again = await scene.refusal(create.model_copy(update={"id": f"{create.id}-2"}))
    assert again.code == "already_exists"


async def test_commands_at_once_are_decided_one_after_the_other(scene: Scene) -> None:
    """Three submissions sent at the same time are all accepted, each on the version the one before it made."""
    escrow = await scene.at(State.IN_PROGRESS)
    sent = [scene.do(commands.SubmitMilestone, escrow, milestone=number) for number in (1, 2, 3)]
    versions = sorted(one.version for one in await asyncio.gather(*sent))
    assert versions == [escrow.version + 1, escrow.version + 2, escrow.version + 3]


async def test_a_payout_that_could_not_be_sent_again_stays_failed(scene: Scene) -> None:
    """Retrying is for failed payouts only: one that was paid is refused by name."""
    escrow = await scene.at(State.MILESTONE_APPROVED)
    paid = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)
    assert (await scene.refused(commands.RetryPayout, paid)).code == "invalid_transition"
