"""A refusal is an answer: typed, on the record, and without harm to the workflow, however odd the message was."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from ledger import reads
from models.commands import (
    ApproveMilestone,
    Cancel,
    Complete,
    Fund,
    RaiseDispute,
    ReviewDispute,
    StartWork,
    SubmitMilestone,
)
from models.errors import RefusedError
from models.escrow import Escrow
from models.states import State
from tests.builders import BUYER, SELLER, new_id, order
from tests.market import Market
from tests.servers import soon
from tests.workflow.scene import Scene, seals

pytestmark = pytest.mark.anyio

Message = Callable[[WorkflowHandle[Any, Any], Escrow], Awaitable[None]]


async def failure(update: Awaitable[Any]) -> ApplicationError:
    """The error that an update failed with."""
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await update
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause


async def test_what_the_snapshot_forbids_leaves_no_history_but_an_audit_row(scene: Scene) -> None:
    """A validator refuses before anything is written to history; the sender sees that the audit has it."""
    escrow = await scene.at(State.FUNDED)
    before = await scene.history(escrow)
    refusal = await scene.refused(ApproveMilestone, escrow)
    assert refusal.code == "invalid_transition"
    assert refusal.details["state"] == "funded"
    assert "start_work" in refusal.details["allowed"]
    assert await scene.history(escrow) == before
    assert scene.market.answers(escrow)[-1] == ("approve_milestone", "invalid_transition")
    assert scene.market.events(escrow)[-1] == "command.refused"


async def test_a_workflow_that_is_behind_the_books_refuses_nothing_by_what_it_does_not_know(scene: Scene) -> None:
    """Its worker died between a commit and the answer, and the sender had that answer from the books."""
    escrow = await scene.at(State.FUNDED)
    disputed = scene.market.do(RaiseDispute, escrow)
    assert disputed.state == State.DISPUTED
    reviewed = await scene.do(ReviewDispute, disputed)
    assert [one.status for one in reviewed.disputes] == ["under_review"]
    assert scene.market.answers(escrow)[-1] == ("review_dispute", "accepted")


async def test_what_only_the_books_can_refuse_is_a_typed_error_with_details(scene: Scene) -> None:
    """A short wallet passes the validator; the update then fails with code, message and numbers, and nothing else."""
    poor = Market(scene.servers.engine, purse=1)
    escrow = poor.create()
    await scene.start(escrow)
    fund = seals(scene.servers).seal(order(Fund, escrow), poor.tenant)
    error = await failure(scene.handle(escrow).execute_update("fund", fund, id=fund.id))
    assert (error.type, error.non_retryable) == ("payment_required", True)
    assert (error.details[0]["required"], error.details[0]["available"]) == (500000, 1)
    assert poor.answers(escrow)[-1] == ("fund", "payment_required")
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
    poor.top_up(500000)
    assert (await scene.do(Fund, escrow)).state == State.FUNDED


async def test_a_refusal_is_recorded_once_however_often_it_is_sent(scene: Scene) -> None:
    """The same refused command again: the same refusal, one audit row."""
    escrow = await scene.at(State.FUNDED)
    approve = order(ApproveMilestone, escrow)
    first = await scene.refusal(approve)
    assert await scene.refusal(approve) == first
    assert scene.market.answers(escrow).count(("approve_milestone", "invalid_transition")) == 1


async def test_edge_01_a_command_based_on_an_old_version_is_a_conflict_with_the_current_one(scene: Scene) -> None:
    """``expected_version`` that is behind is refused with what the version is now; one that is right is not."""
    escrow = await scene.at(State.IN_PROGRESS)
    await scene.do(SubmitMilestone, escrow, expected_version=escrow.version)
    refusal = await scene.refused(SubmitMilestone, escrow, milestone=2, expected_version=escrow.version)
    assert refusal.code == "conflict"
    assert refusal.details == {"current_version": escrow.version + 1, "expected_version": escrow.version}


async def test_edge_01_a_buyers_approval_and_an_operators_cancel_of_one_version_one_wins(scene: Scene) -> None:
    """Sent at once through the workflow, one is accepted, the other a conflict, and one settlement exists."""
    escrow = await scene.at(State.IN_PROGRESS)
    rivals = [scene.sender.send(order(kind, escrow, expected_version=escrow.version)) for kind in (Complete, Cancel)]
    answers = await asyncio.gather(*rivals, return_exceptions=True)
    (lost,) = (answer for answer in answers if isinstance(answer, RefusedError))
    assert lost.refusal.code in {"conflict", "invalid_transition"}
    assert scene.market.count("settlement", escrow) == 1


async def test_edge_02_a_command_sent_again_answers_what_it_answered(scene: Scene) -> None:
    """The same command is not applied twice, even when the escrow has moved on since."""
    escrow = await scene.at(State.IN_PROGRESS)
    submit = order(SubmitMilestone, escrow)
    first = await scene.sender.send(submit)
    await scene.do(ApproveMilestone, first)
    assert await scene.sender.send(submit) == first
    assert scene.market.answers(escrow).count(("submit_milestone", "accepted")) == 1


async def test_edge_02_a_command_id_with_another_body_is_refused(scene: Scene) -> None:
    """The engine would answer the first result to any body; the sender has to learn that its id was used."""
    escrow = await scene.at(State.IN_PROGRESS)
    submit = order(SubmitMilestone, escrow)
    await scene.sender.send(submit)
    other = submit.model_copy(update={"milestone": escrow.milestones[1].id})
    assert (await scene.refusal(other)).code == "idempotency_key_reused"


async def test_edge_02_a_command_that_came_as_a_signal_first_is_answered_as_an_update(scene: Scene) -> None:
    """What was accepted stays accepted: the repetition of a command learns its success, not that it is too late."""
    escrow = await scene.at(State.IN_PROGRESS)
    submit = order(SubmitMilestone, escrow)
    await scene.handle(escrow).signal("submit_milestone", scene.sealed(submit))
    await scene.until(escrow, lambda now: now.version > escrow.version)
    assert (await scene.sender.send(submit)).state == State.MILESTONE_PENDING


async def test_a_refused_signal_is_on_the_record_and_the_workflow_goes_on(scene: Scene) -> None:
    """Its sender does not wait, so the audit row and the event tell; the next command is taken as ever."""
    escrow = await scene.at(State.FUNDED)
    await scene.handle(escrow).signal("approve_milestone", scene.sealed(order(ApproveMilestone, escrow)))

    async def recorded() -> bool:
        return scene.market.answers(escrow)[-1] == ("approve_milestone", "invalid_transition")

    await soon(recorded)
    assert scene.market.events(escrow)[-1] == "command.refused"
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
    assert (await scene.do(StartWork, escrow)).state == State.IN_PROGRESS


def _raw(data: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


def _signal(name: str, *arguments: Any) -> Message:
    return lambda handle, _: handle.signal(name, args=list(arguments))


GARBAGE: dict[str, Message] = {
    "a name nobody knows": _signal("refund_everything", {"amount": 1}),
    "a command of the system": _signal("record_payout", {"outcome": "paid"}),
    "no argument": _signal("approve_milestone"),
    "two arguments": _signal("approve_milestone", 1, 2),
    "null": _signal("approve_milestone", None),
    "a number": _signal("approve_milestone", 42),
    "the wrong document": _signal("approve_milestone", {"hello": "world"}),
    "no JSON": _signal("approve_milestone", _raw(b"\x00\xff\x00")),
    "an unknown encoding": _signal("approve_milestone", _raw(b"x", b"binary/unheard-of")),
    "binary": _signal("approve_milestone", b"\x00\x01"),
    "another escrow's command": lambda handle, escrow: handle.signal(
        "approve_milestone", order(ApproveMilestone, escrow).model_copy(update={"escrow": new_id("esc")})
    ),
    "an unknown milestone": lambda handle, escrow: handle.signal(
        "approve_milestone", order(ApproveMilestone, escrow, milestone=new_id("mil"))
    ),
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_garbage_signal_does_no_harm(scene: Scene, message: Message) -> None:
    """Whatever arrives as a signal, no task fails, no money moves, and the next command is taken."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    await message(scene.handle(escrow), escrow)
    approved = await scene.do(ApproveMilestone, escrow)
    assert approved.released == 150000
    assert "WORKFLOW_TASK_FAILED" not in await scene.history(escrow)
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING


BAD_UPDATES: dict[str, tuple[str, Any]] = {
    "an unknown name": ("refund_everything", {"amount": 1}),
    "a command of the system": ("record_payout", {"outcome": "paid"}),
    "the wrong document": ("approve_milestone", {"hello": "world"}),
    "a number": ("approve_milestone", 42),
    "null": ("approve_milestone", None),
    "binary": ("approve_milestone", b"\x00\x01"),
    "no JSON": ("approve_milestone", _raw(b"\x00\xff\x00")),
    "an unknown encoding": ("approve_milestone", _raw(b"x", b"binary/unheard-of")),
    "no clock": ("advance_clock", None),
}


@pytest.mark.parametrize(("name", "argument"), BAD_UPDATES.values(), ids=BAD_UPDATES.keys())
async def test_a_garbage_update_is_refused_without_a_trace(scene: Scene, name: str, argument: Any) -> None:
    """Its sender gets an error at once, the history stays as it was, and the next command is taken."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    before = await scene.history(escrow)
    with pytest.raises(WorkflowUpdateFailedError):
        await scene.handle(escrow).execute_update(name, argument)
    assert await scene.history(escrow) == before
    assert (await scene.do(ApproveMilestone, escrow)).released == 150000


async def test_a_command_for_another_escrow_is_refused_by_the_workflow_it_came_to(scene: Scene) -> None:
    """A workflow takes commands for its own escrow only."""
    mine, other = await scene.at(State.FUNDED), scene.market.at(State.FUNDED)
    error = await failure(scene.handle(mine).execute_update("start_work", order(StartWork, other)))
    assert error.type == "invalid_command"
    assert scene.market.escrow(other).state == State.FUNDED


async def test_a_sender_cannot_claim_to_have_received_a_command_in_the_future(scene: Scene) -> None:
    """``received_at`` decides which deadlines come first, so a moment ahead of the clock counts as now."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    ahead = datetime.now(UTC) + timedelta(days=15)
    disputed = await scene.do(RaiseDispute, escrow, received_at=ahead)
    assert (disputed.state, disputed.released) == (State.DISPUTED, 0)
    assert reads.audit(scene.servers.engine, escrow.id)[-1]["received_at"] < ahead - timedelta(days=14)


async def test_edge_41_somebody_elses_command_is_forbidden_and_audited(scene: Scene) -> None:
    """A seller cannot approve, nor a stranger who claims to be the buyer; both are on the record."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    for by in (SELLER, BUYER.model_copy(update={"party": "mallory"})):
        assert (await scene.refused(ApproveMilestone, escrow, by=by)).code == "forbidden"
    assert scene.market.answers(escrow)[-2:] == [("approve_milestone", "forbidden")] * 2
    assert scene.market.escrow(escrow) == escrow


async def test_after_the_end_a_command_is_answered_from_the_books(scene: Scene) -> None:
    """The workflow is over: a repetition gets its stored answer, anything new is refused and audited."""
    escrow = await scene.at(State.FUNDED)
    cancel = order(Cancel, escrow)
    ended = await scene.sender.send(cancel)
    assert await scene.completed(escrow) == State.CANCELLED
    assert await scene.sender.send(cancel) == ended
    assert (await scene.refused(StartWork, escrow)).code == "invalid_transition"
    assert scene.market.answers(escrow)[-1] == ("start_work", "invalid_transition")


async def test_a_command_for_an_escrow_nobody_knows_is_not_found(scene: Scene) -> None:
    """No workflow and no row: ``not_found``, whoever asks."""
    unknown = scene.market.create().model_copy(update={"id": new_id("esc")})
    assert (await scene.refused(Fund, unknown)).code == "not_found"


async def test_cancelling_the_workflow_is_no_way_to_cancel_the_escrow(scene: Scene) -> None:
    """The engine's own cancellation means nothing to an escrow: it runs on and takes commands."""
    escrow = await scene.at(State.IN_PROGRESS)
    await scene.handle(escrow).cancel()
    assert (await scene.do(SubmitMilestone, escrow)).state == State.MILESTONE_PENDING
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
    await scene.handle(escrow).cancel()
    assert (await scene.do(ApproveMilestone, escrow)).released == 150000
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING


async def test_queries_answer_the_snapshot_and_what_the_escrow_will_do_by_itself(scene: Scene) -> None:
    """``snapshot`` is the escrow as the books have it, ``deadlines`` what will happen and when."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    assert Escrow.model_validate(await scene.handle(escrow).query("snapshot"), strict=False) == escrow
    (deadline,) = await scene.handle(escrow).query("deadlines")
    assert deadline["kind"] == "auto_approve"
