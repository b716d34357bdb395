"""Rounds of reconciliation on real servers: what nobody told us of is found, looked into and healed, once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy

from activities.ledger import LedgerActivities
from activities.reconciliation import ReconciliationActivities
from activities.standing import Standing
from ledger import comparing, reconciliation
from ledger.books import Books
from ledger.engine import connect
from models import ids
from models.charges import charge_of
from models.commands import Complete, Fund, StartWork
from models.escrow import Escrow
from models.reconciliation import Agreement, Difference, Reconciliation
from models.states import ChargebackStatus, PayoutStatus
from starter.schedules import DAILY_RECONCILIATION, ensure_reconciliation
from tests.builders import order
from tests.gateway.sandbox_process import API_KEY, SandboxProcess
from tests.market import GATEWAY, Market
from tests.provider import listening
from tests.reconciling import NOW, empty_books, own_books, own_provider
from tests.servers import Servers, soon
from tests.workers import gateway, pending
from tests.workflow.scene import Scene, seals
from tests.workflow.test_payouts import is_paid
from worker import reconciliation_worker
from workflows import timeouts
from workflows.reconcile import RECONCILIATION, DailyReconciliationWorkflow, ReconcileWorkflow

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def empty(servers: Servers) -> Iterator[str]:
    """Books with nothing in them, to be copied."""
    with empty_books(servers) as name:
        yield name


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A provider of the test's own, which tells us nothing by itself."""
    with own_provider(tmp_path) as process:
        yield process


@pytest.fixture
def scene(alone: Scene, empty: str, provider: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A market on books of its own, in a Temporal namespace of its own: rounds look at everything that there is."""
    monkeypatch.setattr(timeouts, "RECONCILIATION_HEALS_LOOK", timedelta(seconds=0.2))
    monkeypatch.setattr(timeouts, "RECONCILIATION_HEALS_WITHIN", timedelta(seconds=20))
    with own_books(alone.servers, empty) as engine:
        url = engine.url.render_as_string(hide_password=False)
        own = {"database_url": url, "stripe_api_base": provider.url, "stripe_api_key": API_KEY}
        servers = replace(alone.servers, endpoints=replace(alone.servers.endpoints, **own), engine=engine)
        yield Scene.of(servers, Market(engine, purse=0), alone.client)


@asynccontextmanager
async def reconciling(scene: Scene) -> AsyncIterator[None]:
    """The worker that runs rounds, for which nothing is too new."""
    engine = connect(scene.servers.endpoints.database_url, timeouts.RECONCILIATION_CONNECTIONS)
    sealing, stripe = seals(scene.servers), gateway(scene.servers.endpoints)
    standing = partial(Standing, scene.client, engine)
    activities = ReconciliationActivities(engine, GATEWAY, stripe.statement(), standing, sealing, grace=NOW)
    ledger = LedgerActivities(Books(engine, seals=sealing), GATEWAY)
    async with reconciliation_worker(scene.client, ledger, activities):
        yield
    engine.dispose()


async def begun(scene: Scene) -> "WorkflowHandle[ReconcileWorkflow, Reconciliation]":
    """A round, or the one that runs."""
    return await scene.client.start_workflow(
        ReconcileWorkflow.run,
        id=RECONCILIATION,
        task_queue=timeouts.RECONCILIATION_TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )


async def a_round(scene: Scene) -> Reconciliation:
    """One whole round."""
    result = await (await begun(scene)).result()
    assert result.failed is None, result.failed
    return result


def differences(scene: Scene) -> list[Difference]:
    """What is open."""
    return reconciliation.differences(scene.servers.engine)[0]


async def funded(scene: Scene, **fields: object) -> tuple[Escrow, str]:
    """An escrow that a card has funded, and the key of the charge."""
    escrow = await scene.create(**fields)
    fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
    return await scene.sender.send(fund), charge_of(fund)


async def completed(scene: Scene) -> Escrow:
    """An escrow whose payout is about to be sent."""
    escrow, _ = await funded(scene, amount=150000, milestones=(150000,))
    await scene.do(StartWork, escrow)
    return await scene.do(Complete, escrow)


async def test_what_the_provider_did_and_nobody_told_us_is_booked_after_one_round(
    scene: Scene, provider: SandboxProcess
) -> None:
    """Every webhook got lost: of money that came back, of a payment that is contested, of one that the bank decided.

    The next round asks about the one that the bank had not decided; the one after it finds nothing and does nothing.
    """
    async with listening(scene), reconciling(scene):
        paid = await scene.until(await completed(scene), is_paid)
        contested, contested_key = await funded(scene)
        decided, decided_key = await funded(scene)
        assert (await a_round(scene)).found == {}
        payout = ids.payout_key(paid.payouts[0].id, 1)
        provider.happen("reverse", key=payout)
        open_ = provider.happen("contest", key=contested_key)
        lost = provider.happen("contest", key=decided_key, amount=1000)
        provider.happen("decide", reference=lost["id"], status="lost")
        first = await a_round(scene)
        assert (first.found, first.healed, first.asked) == ({}, 3, 3)
        assert [one.explained for one in first.balances] == [{"contested": -500000}]
        assert scene.market.escrow(paid).payouts[0].status == PayoutStatus.RETURNED
        assert scene.market.balance("payable", "bob") == 135000
        assert [one.status for one in scene.market.escrow(contested).chargebacks] == [ChargebackStatus.OPEN]
        assert [one.status for one in scene.market.escrow(decided).chargebacks] == [ChargebackStatus.LOST]
        provider.happen("decide", reference=open_["id"], status="won")
        second = await a_round(scene)
        assert (second.found, second.healed, second.asked, second.started) == ({}, 0, 1, 0)
        assert [one.status for one in scene.market.escrow(contested).chargebacks] == [ChargebackStatus.WON]
        third = await a_round(scene)
        assert (third.found, third.healed, third.asked, third.started) == ({}, 0, 0, 0)
        assert [(one.unexplained, one.explained) for one in third.balances] == [(0, {})]
        assert len(provider.transfers(payout)) == 1
        assert scene.market.events(paid).count("payout.returned") == 1
    scene.market.audit()


async def test_what_nobody_asks_about_any_more_is_asked_about_again(
    scene: Scene, provider: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payout whose reply was lost, and a bank debit that was processing: then somebody terminated every workflow.

    The payout is sent once and booked once, and the buyer's money arrives.
    """
    monkeypatch.setattr(timeouts, "ASK_AGAIN", RetryPolicy(initial_interval=timedelta(hours=5)))
    async with listening(scene), reconciling(scene):
        provider.fault("transfer", "drop_reply_after")
        escrow, _ = await funded(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        provider.fault("look_up", "error_before")
        unknown = await scene.until(
            await scene.do(Complete, escrow), lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN
        )
        debit = await scene.create()
        fund = order(Fund, debit, source="gateway", payment_method="pm_usBankAccount_processing")
        funding = asyncio.create_task(scene.sender.send(fund))
        charge = ids.charge_workflow(charge_of(fund))
        await soon(lambda: asyncio.to_thread(lambda: bool(provider.list("charges", transfer_group=charge_of(fund)))))
        funding.cancel()
        payout = ids.payout_workflow(unknown.payouts[0].id, 1)
        for one in (ids.escrow_workflow(escrow.id), ids.escrow_workflow(debit.id), payout, charge):
            await scene.client.get_workflow_handle(one).terminate("by hand")
        provider.happen("collect", key=charge_of(fund))
        result = await a_round(scene)
        assert (result.found, result.started) == ({}, 3)
        paid = await scene.until(escrow, is_paid)
        assert len(provider.transfers(ids.payout_key(unknown.payouts[0].id, 1))) == 1
        assert scene.market.events(paid).count("payout.paid") == 1
        assert scene.market.balance("wallet", "alice") == 500000
        assert (await a_round(scene)).started == 0
    scene.market.audit()


async def test_a_round_waits_for_a_provider_that_is_away_and_for_a_worker(
    scene: Scene, provider: SandboxProcess
) -> None:
    """Both are gone in the midst of it; when they are back it goes on, the same round, and finds what there is."""
    async with reconciling(scene):
        provider.kill()
        handle = await begun(scene)

        async def asked_in_vain() -> bool:
            return any(
                name == "read_statement" and attempt > 1 for name, attempt, _ in await pending(scene.client, handle)
            )

        await soon(asked_in_vain)
        # One round at a time: that of the schedule ends at once.
        await scene.client.execute_workflow(
            DailyReconciliationWorkflow.run, id="daily-1", task_queue=timeouts.RECONCILIATION_TASK_QUEUE
        )
        assert (await begun(scene)).first_execution_run_id == handle.first_execution_run_id
    provider.start()
    scene.market.top_up(700)
    async with reconciling(scene):
        result = await handle.result()
    assert (result.failed, result.found) == (None, {"missing_there": 1})
    assert [one.unexplained for one in result.balances] == [-700]
    (open_,) = differences(scene)
    assert (open_.cause, open_.ours, open_.theirs, open_.tenant) == ("missing_there", 700, None, scene.market.tenant)


async def test_a_round_believes_no_result_of_another_and_ends_within_the_day(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed for an earlier round opens in this one as well, since they have one id: its name is compared."""
    earlier = Agreement(round="rec_00000000000000000000000001", lines=10, matched=10)
    monkeypatch.setattr(comparing, "compare", lambda *_: earlier)
    async with reconciling(scene):
        await scene.client.execute_workflow(
            DailyReconciliationWorkflow.run, id="daily-1", task_queue=timeouts.RECONCILIATION_TASK_QUEUE
        )
        ended = scene.client.get_workflow_handle(RECONCILIATION, result_type=Reconciliation)
        result = await ended.result()
        assert (result.failed, result.matched) == ("provider: AnotherRound: the result of another round was told", 0)
        within = (await ended.describe()).raw_description.execution_config.workflow_execution_timeout
        assert within.ToTimedelta() == timeouts.RECONCILIATION_WITHIN < timedelta(days=1)


async def test_a_provider_that_stays_away_fails_its_part_of_the_round_and_no_other(
    scene: Scene, provider: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books are compared with the workflows all the same; the result says why the rest was not."""
    monkeypatch.setattr(timeouts, "RECONCILIATION_PROVIDER_AWAY", timedelta(seconds=2))
    provider.kill()
    escrow = scene.market.create()
    async with reconciling(scene):
        result = await (await begun(scene)).result()
        assert result.failed is not None
        assert result.failed.startswith("provider: GatewayUnavailableError: Stripe did not say: no_answer")
        assert (result.read_up_to, result.escrows, result.started) == (None, 1, 1)
        assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
        assert differences(scene) == []


async def test_a_round_is_due_every_day_at_an_hour_of_quiet(alone: Scene) -> None:
    """However many workers start: one schedule, and no round before its hour."""
    await asyncio.gather(*(ensure_reconciliation(alone.client) for _ in range(2)))
    described = await alone.client.get_schedule_handle(DAILY_RECONCILIATION).describe()
    assert {(one.hour, one.minute) for one in described.info.next_action_times} == {(3, 40)}
    assert described.info.num_actions == 0
