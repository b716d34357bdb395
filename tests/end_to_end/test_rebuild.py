"""Temporal's data is deleted altogether while money is on its way; one command brings everything back."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from ledger import reads
from models import ids
from models.charges import ChargeOrder, charge_of
from models.commands import Command, Fund, RejectMilestone, StartWork
from models.escrow import Escrow
from models.screening import ScreenParty, screening_workflow
from models.states import PayoutStatus, State
from starter.delivery import DELIVERY, GATEWAY_EVENTS, WEBHOOKS
from tests.builders import order
from tests.end_to_end.command_line import Books, CommandLine
from tests.market import Market
from tests.servers import Servers, eventually, soon
from tests.workers import temporal
from tests.workflow.scene import Sandbox, Scene
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio

_WAITING: Final = (State.CREATED, State.FUNDED, State.IN_PROGRESS, State.MILESTONE_PENDING, State.DISPUTED)
_LASTING: Final = {DELIVERY, WEBHOOKS, GATEWAY_EVENTS}
_TOP_UP: Final = 4_200


@dataclass
class Town:
    """A stack with deals in every state, whose provider does its work and never says so."""

    holdfast: CommandLine
    scene: Scene
    sandbox: Sandbox
    waiting: dict[State, Escrow]
    paying: list[Escrow]
    top_up: ChargeOrder
    fund: Command

    @property
    def open(self) -> set[str]:
        """Every escrow that needs a workflow."""
        return {one.id for one in (*self.waiting.values(), *self.paying)} | {self.fund.escrow}

    def repaired(self, *arguments: str) -> Any:
        """The JSON of a ``holdfast repair`` that left nothing to a person."""
        ended = self.holdfast("repair", *arguments, "--json")
        assert (ended.code, ended.err) == (0, ""), ended
        return json.loads(ended.out)


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[CommandLine, Servers]]:
    """A home where ``holdfast up`` runs, and its servers."""
    with tempfile.TemporaryDirectory() as directory:
        holdfast = CommandLine(Path(directory))
        with holdfast.up() as endpoints:
            engine = Books(endpoints).engine()
            yield holdfast, Servers(holdfast.home, endpoints, engine)
            engine.dispose()


@pytest.fixture
async def town(stack: tuple[CommandLine, Servers]) -> Town:
    """Everything under way on that stack."""
    holdfast, servers = stack
    market, sandbox = Market(servers.engine), Sandbox(servers.endpoints)
    scene = Scene.of(servers, market, await temporal(servers.endpoints))
    waiting = {state: await scene.at(state) for state in _WAITING}
    await scene.at(State.CANCELLED)  # over: nobody has to look after it
    unfunded = await scene.create()
    for operation in ("charge", "transfer"):
        sandbox.fault(operation, "drop_reply_after", times=1000)
    sandbox.fault("look_up", "error_before", times=10_000)
    paying = [await scene.at(state) for state in (State.MILESTONE_APPROVED, State.COMPLETED)]
    top_up, fund = market.charge(_TOP_UP), order(Fund, unfunded, source="gateway", payment_method="pm_card_visa")
    await scene.sender.revive_charge(top_up)
    funding = asyncio.create_task(scene.sender.send(fund))
    built = Town(holdfast, scene, sandbox, waiting, paying, top_up, fund)
    await soon(lambda: _on_their_way(built))
    funding.cancel()
    return built


async def _on_their_way(built: Town) -> bool:
    """Whether the provider was asked for everything, which it then does; asked what became of it, it fails."""
    return all(built.sandbox.requests(key) for key in (*_keys(built), built.top_up.id, charge_of(built.fund)))


def _keys(built: Town) -> list[str]:
    escrows = [reads.escrow(built.scene.servers.engine, one.id) for one in built.paying]
    return [ids.payout_key(one.id, one.generation) for escrow in escrows if escrow for one in escrow.payouts]


async def _forget(built: Town) -> Client:
    """Delete all that Temporal knows and kill it; answers a client of the one that the supervisor starts instead."""
    for file in built.holdfast.home.glob("temporal.db*"):
        file.unlink()
    before = built.holdfast.children()["temporal"]
    os.kill(before, signal.SIGKILL)
    endpoints = built.scene.servers.endpoints
    eventually(lambda: built.holdfast.children().get("temporal", before) != before)

    async def back() -> Client | None:
        try:
            client = await temporal(endpoints)
            return client if await client.service_client.check_health() else None
        except Exception:  # noqa: BLE001 - whatever it is, it is not there yet
            return None

    client = await soon(back, within=30)
    assert client is not None
    return client


async def _running(client: Client, workflows: set[str]) -> bool:
    described = [await client.get_workflow_handle(one).describe() for one in workflows]
    return {one.status for one in described} == {WorkflowExecutionStatus.RUNNING}


async def test_one_command_brings_back_every_escrow_with_its_timer_and_no_money_moves_twice(town: Town) -> None:
    """By the provider's own books each charge and each payout happened once; a second repair finds nothing to do."""
    scene, market = town.scene, town.scene.market
    keys = _keys(town)
    await _forget(town)
    would = town.repaired("--dry-run")
    assert {one["escrow"] for one in would["data"]} == town.open
    assert {(one["cause"], one["workflow"], one["done"]) for one in would["data"]} == {
        ("not_running", "missing", "would be started")
    }
    assert {one["charge"] for one in would["charges"]} == {town.top_up.id, charge_of(town.fund)}
    town.sandbox.behave()
    done = town.repaired()
    assert {one["escrow"] for one in done["data"]} == town.open
    assert {one["done"] for key in ("data", "charges", "ground") for one in done[key]} == {"started again"}
    assert done["looked_at"] == len(town.open)
    workflows = {ids.escrow_workflow(one.id) for one in town.waiting.values()} | _LASTING
    assert await _running(scene.client, workflows)
    again = town.repaired("--thorough")
    assert [again[key] for key in ("data", "charges", "ground", "remarks")] == [[], [], [], []]
    for one in town.paying:
        await scene.until(one, lambda now: {payout.status for payout in now.payouts} == {PayoutStatus.PAID})
    charged = await scene.sender.top_up(town.top_up)
    assert charged.status == "succeeded"
    funded = await scene.sender.send(town.fund)  # as the platform does, whose request had no answer
    assert funded.state == State.FUNDED
    await scene.advance(timedelta(days=31))
    released = await scene.until(town.waiting[State.MILESTONE_PENDING], lambda now: now.released == 150_000)
    judged = await scene.until(town.waiting[State.DISPUTED], lambda now: now.open_dispute is None)
    for one in (released, judged):
        await scene.until(one, lambda now: all(p.status == PayoutStatus.PAID for p in now.payouts))
    _agree(town, keys)
    assert market.balance("payout_in_transit", "bob") == 0
    market.audit()


def _agree(built: Town, keys: list[str]) -> None:
    """Each key moved money once, and the provider's books have what ours have."""
    sandbox, market = built.sandbox, built.scene.market
    assert [len(sandbox.transfers(key)) for key in keys] == [1] * len(keys)
    assert [len(sandbox.charges(key)) for key in (built.top_up.id, charge_of(built.fund))] == [1, 1]
    paid = market.scalar(
        """SELECT array_agg(p.amount ORDER BY p.amount) FROM payout p JOIN escrow e ON e.id = p.escrow_id
           WHERE e.tenant_id = :tenant AND p.status = 'paid'"""
    )
    assert sorted(Books(built.scene.servers.endpoints).transfers(market.destination)) == paid


async def test_who_is_behind_is_told_and_who_is_stuck_starts_anew_only_when_that_is_said(
    stack: tuple[CommandLine, Servers],
) -> None:
    """Exit code 1 as long as a person has to see to something; afterwards both do what the books say."""
    holdfast, servers = stack
    market = Market(servers.engine)
    scene = Scene.of(servers, market, await temporal(servers.endpoints))
    behind, stuck = await scene.at(State.MILESTONE_PENDING), market.at(State.FUNDED)
    rejected = market.do(RejectMilestone, behind)
    handle = await scene.client.start_workflow(  # its arguments are none: a worker's every attempt fails
        "EscrowWorkflow",
        "nonsense",
        id=ids.escrow_workflow(stuck.id),
        task_queue=TASK_QUEUE,
        task_timeout=timedelta(seconds=1),
    )

    async def failed_twice() -> bool:
        return (await handle.describe()).raw_description.pending_workflow_task.attempt > 2

    await soon(failed_twice)
    repair = ("repair", "--tenant", market.tenant, "--json")
    first, second, third = (
        holdfast(*repair),
        holdfast(*repair, "--restart-stuck"),
        holdfast(*repair, "--thorough", "--screen"),
    )
    assert [one.code for one in (first, second, third)] == [1, 0, 0]
    assert {(one["escrow"], one["cause"], one["done"], one["mended"]) for one in json.loads(first.out)["data"]} == {
        (behind.id, "behind", "told, and caught up", True),
        (stuck.id, "stuck", "left as it is", False),
    }
    assert [(one["escrow"], one["done"]) for one in json.loads(second.out)["data"]] == [(stuck.id, "started again")]
    assert [json.loads(third.out)[key] for key in ("data", "screened")] == [[], 1]
    screening = scene.client.get_workflow_handle(screening_workflow(ScreenParty(tenant=market.tenant, party="bob")))
    assert (await screening.result())["blocked"] is False
    assert (await scene.handle(behind).query("snapshot", result_type=Escrow)).version == rejected.version
    assert (await scene.do(StartWork, stuck)).state == State.IN_PROGRESS
