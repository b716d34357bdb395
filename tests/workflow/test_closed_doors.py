"""Whoever reaches Temporal (UI, CLI, SDK) and has no key: moves no money, charges no card, reads nothing."""

import asyncio
import dataclasses
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError

from ledger import reads, tenants
from ledger.books import Books
from ledger.keyring import Keyring
from ledger.seals import Seals
from models import ids
from models.charges import charge_of
from models.commands import (
    AddEvidence,
    ApproveMilestone,
    Command,
    Fund,
    RaiseDispute,
    RecordPayout,
    RejectMilestone,
    StartWork,
    SubmitMilestone,
    SystemCommand,
)
from models.decide import PLATFORM_COMMANDS
from models.errors import RefusedError
from models.escrow import Escrow
from models.gateway import TransferRequest
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import PayoutStatus, State
from starter.arrival import OutcomeUnknownError
from starter.payloads import EncryptedPayloads
from starter.sender import Sender
from tests.builders import a_create, new_id, order
from tests.market import Market, now
from tests.servers import Servers, soon
from tests.workers import Workers, temporal, where
from tests.workflow.scene import Sandbox, Scene, seals
from workflows.charge import ChargeWorkflow
from workflows.inputs import PayoutInput
from workflows.payout import PayoutWorkflow
from workflows.timeouts import GATEWAY_TASK_QUEUE, TASK_QUEUE

pytestmark = pytest.mark.anyio

BY_CARD: Final[dict[str, Any]] = {"source": "gateway", "payment_method": "pm_card_visa"}
MARK: Final = "zXq7-a-text-of-the-parties"
UNSEALED: Final = "unsealed_command"


async def stranger(scene: Scene) -> Client:
    """Somebody who reaches Temporal and speaks our types. Without a key, but for what it takes to see the answer."""
    codec = ReadsOnly(Keyring.parse(scene.servers.endpoints.keys))
    converter = dataclasses.replace(pydantic_data_converter, payload_codec=codec)
    return await Client.connect(**where(scene.servers.endpoints), data_converter=converter)


class ReadsOnly(EncryptedPayloads):
    """Understands what is encrypted and sends everything in plain text."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As it is."""
        return list(payloads)


async def by_hand(scene: Scene, command: Command) -> str | None:
    """Send an update past the sender; answers the type of the error."""
    handle = (await stranger(scene)).get_workflow_handle(ids.escrow_workflow(command.escrow))
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await handle.execute_update(command.name, command, id=new_id("cmd"))
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause.type


def tried(scene: Scene, escrow: Escrow) -> list[str]:
    """The ids of the commands that the audit says were tried without a seal."""
    rows = reads.audit(scene.servers.engine, escrow.id)
    return [row["command_id"] for row in rows if row["outcome"] == UNSEALED]


def decided(scene: Scene, command: Command) -> int:
    """How many rows of decided commands have this id."""
    return int(scene.market.scalar("SELECT count(*) FROM command WHERE id = :id", id=command.id))


async def test_an_update_made_by_hand_moves_no_money_and_is_on_record(scene: Scene) -> None:
    """Refused by name; who tried is in the audit and in the events; the command's id stays free."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    assert await by_hand(scene, approve) == UNSEALED
    assert scene.market.escrow(escrow) == escrow
    assert tried(scene, escrow) == [approve.id]
    assert scene.market.events(escrow)[-1] == "command.refused"
    assert decided(scene, approve) == 0
    assert (await scene.sender.send(approve)).released == 150000


async def test_tried_over_and_over_it_is_on_record_each_time_and_nothing_breaks(scene: Scene) -> None:
    """The same command, at once and again: as many audit rows, whole in their chain, and no error of the program."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow, received_at=now())
    answers = await asyncio.gather(*(by_hand(scene, approve) for _ in range(4)))
    assert set(answers) == {UNSEALED}
    assert tried(scene, escrow) == [approve.id] * 4
    assert (await scene.do(ApproveMilestone, escrow)).released == 150000


def _changed(sealed: Command, **fields: Any) -> Command:
    return sealed.model_copy(update=fields)


async def test_a_seal_of_something_else_opens_nothing(scene: Scene) -> None:
    """Of another tenant, another command, another body or actor, of a key that is not ours, or simply made up."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    approve, reject = order(ApproveMilestone, escrow), order(RejectMilestone, escrow)
    foreign = Seals(Keyring({"k1": bytes(32)}))
    good = scene.sealed(approve)
    forged = (
        seals(scene.servers).seal(approve, new_id("ten")),
        foreign.seal(approve, scene.market.tenant),
        _changed(approve, seal=scene.sealed(reject).seal),
        _changed(approve, seal=f"k1:{'0' * 64}"),
        _changed(good, id=new_id("cmd")),
        _changed(good, expected_version=escrow.version),
    )
    for one in forged:
        assert await by_hand(scene, one) == UNSEALED
    assert scene.market.escrow(escrow) == escrow
    assert await scene.sender.send(approve)


async def test_a_sealed_command_again_with_another_body_changes_nothing(scene: Scene) -> None:
    """Somebody who could read a command that was sent cannot make another one of it, used or not."""
    escrow = await scene.at(State.IN_PROGRESS)
    submit = scene.sealed(order(SubmitMilestone, escrow))
    await scene.sender.send(submit)
    assert await by_hand(scene, _changed(submit, milestone=escrow.milestones[1].id, id=new_id("cmd"))) == UNSEALED
    reject = scene.sealed(order(RejectMilestone, escrow))
    assert await by_hand(scene, _changed(reject, reason="something else")) == UNSEALED
    assert scene.market.escrow(escrow).state == State.MILESTONE_PENDING


async def test_a_signal_made_by_hand_moves_no_money_and_is_on_record(scene: Scene) -> None:
    """Its sender learns nothing; the audit does."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    handle = (await stranger(scene)).get_workflow_handle(ids.escrow_workflow(escrow.id))
    await handle.signal(approve.name, approve)

    async def recorded() -> bool:
        return tried(scene, escrow) == [approve.id]

    await soon(recorded)
    assert scene.market.escrow(escrow) == escrow


async def test_a_deal_cannot_be_made_by_hand(scene: Scene) -> None:
    """A workflow that a stranger starts, with a create of theirs, leaves nothing but the record of it."""
    create = a_create(tenant=scene.market.tenant)
    client = await stranger(scene)
    await client.start_workflow(
        "EscrowWorkflow", {"escrow": create.escrow}, id=ids.escrow_workflow(create.escrow), task_queue=TASK_QUEUE
    )
    assert await by_hand(scene, create) == UNSEALED
    assert reads.escrow(scene.servers.engine, create.escrow) is None
    assert [row["outcome"] for row in reads.audit(scene.servers.engine, create.escrow)] == [UNSEALED]


async def test_nobody_charges_a_card_by_hand(scene: Scene, sandbox: Sandbox) -> None:
    """Neither a charge's workflow that a stranger starts, nor a funding without a seal, gets as far as the gateway."""
    charge = scene.market.charge(700)
    client = await stranger(scene)
    with pytest.raises(WorkflowFailureError) as failed:
        await client.execute_workflow(
            ChargeWorkflow.run, charge, id=ids.charge_workflow(charge.id), task_queue=TASK_QUEUE
        )
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == UNSEALED
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    assert await by_hand(scene, fund) == UNSEALED
    assert sandbox.charges(charge.id) == sandbox.charges(charge_of(fund)) == []
    assert scene.market.scalar("SELECT count(*) FROM charge WHERE id = :id", id=charge.id) == 0
    assert (await scene.sender.send(fund)).state == State.FUNDED
    assert (await scene.sender.top_up(charge)).status == "succeeded"


@pytest.mark.parametrize("seal", [None, f"k1:{'0' * 64}"], ids=["none", "forged"])
async def test_a_sender_without_our_keys_is_told_that_its_seal_is_not_good(scene: Scene, seal: str | None) -> None:
    """A program that was set up with other keys gets the refusal by name, and not an error of the program."""
    escrow = await scene.at(State.FUNDED)
    keys = Seals(Keyring({"k1": bytes(32)})) if seal else None
    wrong = Sender(scene.client, scene.servers.engine, seals=keys)
    start = order(StartWork, escrow)
    with pytest.raises(RefusedError) as refused:
        await wrong.send(start)
    assert refused.value.refusal.code == UNSEALED
    assert decided(scene, start) == 0
    assert (await scene.sender.send(start)).state == State.IN_PROGRESS


async def test_what_the_system_does_by_itself_cannot_be_sent(scene: Scene) -> None:
    """No update and no signal has the name of such a command, and under another name its id is none."""
    names = {row.name for row in PLATFORM_COMMANDS}
    assert not any(issubclass(row.command, SystemCommand) for row in PLATFORM_COMMANDS)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    escrow = await scene.until(escrow, lambda one: one.payouts[0].status == PayoutStatus.PAID)
    returned = order(RecordPayout, escrow, outcome="returned", reason="by hand")
    client = await stranger(scene)
    handle = client.get_workflow_handle(ids.escrow_workflow(escrow.id))
    assert returned.name not in names
    for name in ("record_payout", "send_payout", "reach_deadline", "cancel"):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(name, returned)
        await handle.signal(name, returned)
    await scene.do(SubmitMilestone, escrow, milestone=2)
    assert [payout.status for payout in scene.market.escrow(escrow).payouts] == [PayoutStatus.PAID]
    assert tried(scene, escrow) == []


async def test_a_payout_that_is_held_is_not_sent_by_its_workflow_started_by_hand(
    scene: Scene, sandbox: Sandbox
) -> None:
    """The books say whether it may go; a stranger who starts the workflow changes nothing."""
    week = ReleasePolicy(payout=PayoutTerms(trigger="time", clearance=timedelta(days=7)))
    tenants.put_policy(scene.servers.engine, scene.market.tenant, "release", week)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    (payout,) = escrow.payouts
    start = PayoutInput(escrow=escrow.id, payout=payout.id, generation=payout.generation)
    client = await temporal(scene.servers.endpoints)
    await client.execute_workflow(PayoutWorkflow.run, start, id=new_id("cmd"), task_queue=TASK_QUEUE)
    assert sandbox.transfers(ids.payout_key(payout.id, payout.generation)) == []
    assert scene.market.escrow(escrow).payouts[0].status == PayoutStatus.DUE


async def test_an_activity_started_by_hand_moves_nothing(alone: Scene, sandbox: Sandbox) -> None:
    """Temporal lets anyone start an activity without a workflow: ours take arguments of our own workers only."""
    with Workers(alone.servers):
        escrow = await alone.at(State.MILESTONE_APPROVED)
        escrow = await alone.until(escrow, lambda one: one.payouts[0].status == PayoutStatus.PAID)
        key = new_id("pay")
        transfer = TransferRequest(
            key=key, amount=1, currency="EUR", destination="acct_mallory", first_sent_at=now(), metadata={}
        )
        returned = order(RecordPayout, escrow, outcome="returned", reason="by hand")
        client, wanted = (
            await stranger(alone),
            ((GATEWAY_TASK_QUEUE, "transfer", transfer), (TASK_QUEUE, "apply", returned)),
        )
        for queue, name, argument in wanted:
            with pytest.raises(Exception, match=r"(?i)activity"):
                await client.execute_activity(
                    name,
                    argument,
                    id=new_id("cmd"),
                    task_queue=queue,
                    start_to_close_timeout=timedelta(seconds=5),
                    schedule_to_close_timeout=timedelta(seconds=3),
                )
        assert sandbox.transfers(key) == []
        assert alone.market.escrow(escrow) == escrow


async def test_an_answer_given_by_hand_is_not_taken_for_the_gateways(alone: Scene, sandbox: Sandbox) -> None:
    """Temporal lets anyone complete a pending activity: what is not encrypted by a worker of ours books nothing."""
    with Workers(alone.servers):
        escrow = await alone.at(State.MILESTONE_PENDING)
        sandbox.fault("transfer", "delay", times=20, seconds=5.0, match={"destination": alone.market.destination})
        await alone.do(ApproveMilestone, escrow)
        escrow = await alone.until(escrow, lambda one: one.payouts[0].status == PayoutStatus.IN_TRANSIT)
        payout = ids.payout_workflow(escrow.payouts[0].id, 1)
        client = await stranger(alone)

        async def pending() -> str | None:
            described = (await client.get_workflow_handle(payout).describe()).raw_description
            return next((one.activity_id for one in described.pending_activities), None)

        activity = await soon(pending)
        handle = client.get_async_activity_handle(workflow_id=payout, run_id=None, activity_id=str(activity))
        await handle.complete({"status": "declined", "message": "by hand"})

        async def stopped() -> bool:
            events = client.get_workflow_handle(payout).fetch_history_events()
            return any([event.HasField("workflow_task_failed_event_attributes") async for event in events])

        await soon(stopped)
        assert alone.market.escrow(escrow).payouts[0].status in {PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN}


def two_keys(servers: Servers) -> tuple[str, str]:
    """The stack's key, and a new one that takes its place."""
    return servers.endpoints.keys, f"k2:{b64encode(bytes(range(32))).decode()}"


def keyed(scene: Scene, keys: str) -> Servers:
    """The same servers with these keys."""
    return dataclasses.replace(scene.servers, endpoints=dataclasses.replace(scene.servers.endpoints, keys=keys))


async def with_keys(scene: Scene, keys: str, patience: float = 60) -> Scene:
    """The same scene, as programs with these keys see it."""
    servers = keyed(scene, keys)
    client = await temporal(servers.endpoints)
    sender = Sender(client, servers.engine, timedelta(seconds=patience), seals=seals(servers))
    return Scene(servers, scene.market, client, sender)


async def test_keys_are_changed_under_a_running_escrow(alone: Scene) -> None:
    """A worker with both keys takes what either sealed. One that lacks a key that is needed loses nothing: it waits."""
    old, new = two_keys(alone.servers)
    before, between, after = [await with_keys(alone, keys) for keys in (old, f"{new},{old}", new)]
    with Workers(before.servers):
        escrow = await before.at(State.FUNDED)
    with Workers(between.servers):
        start = before.sealed(order(StartWork, escrow))
        escrow = await between.handle(escrow).execute_update("start_work", start, result_type=Escrow)
        escrow = await between.do(SubmitMilestone, escrow)
        assert escrow.state == State.MILESTONE_PENDING
    approve = order(ApproveMilestone, escrow)
    with Workers(after.servers):
        hasty = await with_keys(alone, f"{new},{old}", patience=2)
        with pytest.raises(OutcomeUnknownError):
            await hasty.sender.send(approve)
    assert alone.market.escrow(escrow) == escrow
    with Workers(between.servers):
        assert (await between.sender.send(approve)).released == 150000


async def test_a_key_that_was_taken_away_seals_nothing_any_more(scene: Scene, market: Market) -> None:
    """The books of a worker without it refuse its seals."""
    old, new = two_keys(scene.servers)
    escrow = market.at(State.FUNDED)
    start = Seals(Keyring.parse(old)).seal(order(StartWork, escrow), market.tenant)
    without = Books(scene.servers.engine, seals=Seals(Keyring.parse(new)))
    refusal = without.apply(start).refusal
    assert refusal is not None
    assert refusal.code == UNSEALED
    both = Books(scene.servers.engine, seals=Seals(Keyring.parse(f"{new},{old}")))
    assert both.apply(start).refusal is None


async def everything(client: Client, workflow: str) -> bytes:
    """Every byte of a workflow's history, and what a visitor is shown of it."""
    handle = client.get_workflow_handle(workflow)
    events = [event.SerializeToString() async for event in handle.fetch_history_events()]
    return b"".join([*events, (await handle.describe()).raw_description.SerializeToString()])


async def test_no_text_of_a_deal_and_no_message_is_readable_in_temporal(scene: Scene) -> None:
    """Titles, evidence, reasons, and why something was refused: Temporal stores none of it in plain text."""
    client = await stranger(scene)
    escrow = await scene.create(title=f"title {MARK}")
    poor = Market(scene.servers.engine, purse=1)
    unpaid = poor.create(title=f"title {MARK}")
    await scene.start(unpaid)
    refused = await scene.refused(Fund, unpaid)
    assert refused.code == "payment_required"
    for kind in (Fund, StartWork, SubmitMilestone):
        escrow = await scene.do(kind, escrow)
    escrow = await scene.do(RejectMilestone, escrow, reason=f"reason {MARK}")
    escrow = await scene.do(SubmitMilestone, escrow)
    escrow = await scene.do(ApproveMilestone, escrow)
    escrow = await scene.do(RaiseDispute, escrow, milestones=(2,), reason=MARK, description=f"described {MARK}")
    escrow = await scene.do(AddEvidence, escrow, statement=f"statement {MARK}")
    escrow = await scene.until(escrow, lambda one: one.payouts[0].status == PayoutStatus.PAID)
    assert MARK in escrow.model_dump_json()
    workflows = [
        ids.escrow_workflow(escrow.id),
        ids.escrow_workflow(unpaid.id),
        ids.payout_workflow(escrow.payouts[0].id, 1),
    ]
    for workflow in workflows:
        stored = await everything(client, workflow)
        assert len(stored) > 1000
        for words in (MARK, refused.message, "statement", scene.market.destination):
            assert words.encode() not in stored, f"{words} is readable in {workflow}"
