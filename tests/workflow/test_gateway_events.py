"""What the provider tells by itself, through the real road: stored, judged by how things stand, applied by commands."""

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Engine, text
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RetryPolicy

from ledger.engine import connect
from models.charges import charge_of
from models.commands import Complete, Fund, Refund, RetryPayout, StartWork
from models.escrow import Escrow
from models.states import ChargebackStatus, MilestoneStatus, PayoutStatus, State
from starter.delivery import GATEWAY_EVENTS
from tests.builders import new_id, order
from tests.market import Market
from tests.provider import an_event, listening, row, tell
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene
from tests.workflow.test_payouts import UNREACHABLE, is_paid
from workflows import timeouts

pytestmark = pytest.mark.anyio

CASH: Final = ("gateway_cash", "stripe")
NEVER: Final = RetryPolicy(initial_interval=timedelta(hours=5))


@pytest.fixture
def door(alone: Scene) -> Iterator[Engine]:
    """Connections as the role of the API, which may only add events."""
    engine = connect(alone.servers.endpoints.api_database_url, 4)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(alone: Scene) -> Scene:
    """A scene of the test's own whose buyer has nothing in the wallet."""
    return Scene.of(alone.servers, Market(alone.servers.engine, purse=0), alone.client)


async def by_card(scene: Scene, method: str = "pm_card_visa", **fields: Any) -> tuple[Escrow, str]:
    """An escrow that a payment method has funded, and the key of the charge."""
    escrow = await scene.create(**fields)
    fund = order(Fund, escrow, source="gateway", payment_method=method)
    return await scene.sender.send(fund), charge_of(fund)


async def settled(scene: Scene, *events: dict[str, Any], within: float = 30.0) -> list[str]:
    """Wait until none of the events is pending; answers what became of them."""

    async def all_settled() -> list[str]:
        found = [row(scene.servers.engine, event)["status"] for event in events]
        return found if "pending" not in found else []

    return await soon(all_settled, within)


async def adopted(scene: Scene, escrow: Escrow, condition: Callable[[Escrow], bool]) -> None:
    """Wait until the escrow's own workflow knows."""

    async def knows() -> bool:
        return condition(await scene.handle(escrow).query("snapshot", result_type=Escrow))

    await soon(knows)


# Money that comes back ------------------------------------------------------------------------------------------------


async def test_edge_13_a_transfer_that_comes_back_is_payable_again_and_its_destination_is_not_used_any_more(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """Days later, after the escrow's workflow has closed: it is open again until the money is sent somewhere else."""
    async with listening(scene):
        escrow, _ = await by_card(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        await scene.do(Complete, escrow)
        paid = await scene.until(escrow, is_paid)
        assert await scene.completed(escrow) == State.COMPLETED
        (payout,) = paid.payouts
        back = sandbox.happen("reverse", key=f"{payout.id}:1")
        sent, returned = sandbox.events(back["id"])
        assert tell(door, scene.servers.endpoints, returned, sent, returned) == [True, True, False]
        assert await settled(scene, returned, sent) == ["applied", "ignored"]
        after = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.RETURNED)
        assert after.milestones[0].status == MilestoneStatus.APPROVED
        assert scene.market.balance("payable", "bob") == 135000
        assert scene.market.events(escrow).count("payout.returned") == 1
        invalid = "SELECT invalid_destination FROM party WHERE tenant_id = :tenant AND id = 'bob'"
        assert scene.market.scalar(invalid) == payout.destination
        assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING
        await scene.do(RetryPayout, after, destination=f"{scene.market.destination}2")
        await scene.until(escrow, is_paid)
        assert await scene.completed(escrow) == State.COMPLETED
    scene.market.audit()


async def test_edge_13_a_part_of_a_transfer_that_comes_back_is_for_a_person(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """Nothing moves on it; the event says what has to be looked at."""
    async with listening(scene):
        escrow, _ = await by_card(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        await scene.do(Complete, escrow)
        paid = await scene.until(escrow, is_paid)
        back = sandbox.happen("reverse", key=f"{paid.payouts[0].id}:1", amount=1000)
        returned = sandbox.events(back["id"])[-1]
        tell(door, scene.servers.endpoints, returned)
        assert await settled(scene, returned) == ["refused"]
        assert "10.00 EUR of 1,350.00 EUR" in row(scene.servers.engine, returned)["last_error"]
        assert scene.market.escrow(escrow).payouts[0].status == PayoutStatus.PAID


# Twice, late, early, in any order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_edge_14_events_in_any_order_and_several_times_have_one_effect(
    scene: Scene, sandbox: Sandbox, door: Engine, seed: int
) -> None:
    """A dispute that was decided already is opened and closed once, whichever of its events comes first."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        dispute = sandbox.happen("contest", key=key, amount=200000)
        sandbox.happen("decide", reference=dispute["id"], status="lost")
        (charge,) = sandbox.charges(key)
        told = sandbox.events(dispute["id"], charge["id"], charge["payment_intent"])
        again = [{**one, "id": f"{one['id']}again"} for one in told]
        shuffled = [*told, *told, *again]
        random.Random(seed).shuffle(shuffled)  # noqa: S311 - the same order every time
        tell(door, scene.servers.endpoints, *shuffled)
        outcomes = await settled(scene, *told, *again)
        assert set(outcomes) == {"applied", "ignored"}
        after = scene.market.escrow(escrow)
        assert [(one.reference, one.status) for one in after.chargebacks] == [(dispute["id"], ChargebackStatus.LOST)]
        assert (after.held, after.charged_back) == (300000, 200000)
        assert scene.market.balance(*CASH) == 300000
    scene.market.audit()


async def test_edge_14_an_event_before_our_own_reply_has_the_charge_looked_up_at_once(
    scene: Scene, sandbox: Sandbox, door: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bank debit is processing, and nobody asks again for hours; told that it succeeded, its workflow asks now."""
    monkeypatch.setattr(timeouts, "ASK_AGAIN", NEVER)
    async with listening(scene):
        escrow = await scene.create()
        fund = order(Fund, escrow, source="gateway", payment_method="pm_usBankAccount_processing")
        funding = asyncio.create_task(scene.sender.send(fund))
        key = charge_of(fund)

        async def asked() -> bool:
            charges = sandbox.charges(key)
            return bool(charges) and bool(sandbox.look_ups(f"payment_intents/{charges[0]['payment_intent']}"))

        await soon(asked)
        charge = sandbox.happen("collect", key=key)
        (succeeded,) = sandbox.events(charge["payment_intent"])
        tell(door, scene.servers.endpoints, succeeded)
        assert (await asyncio.wait_for(funding, 20)).state == State.FUNDED
        assert await settled(scene, succeeded) == ["applied"]
        assert scene.market.balance(*CASH) == 500000


async def test_edge_14_an_event_before_our_own_reply_has_the_payout_looked_up_at_once(
    scene: Scene, sandbox: Sandbox, door: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to the transfer was lost and the first look-up as well; the provider's word ends the wait."""
    monkeypatch.setattr(timeouts, "ASK_AGAIN", NEVER)
    async with listening(scene):
        escrow, _ = await by_card(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        to_bob = {"destination": scene.market.destination}
        sandbox.fault("transfer", "drop_reply_after", match=to_bob)
        sandbox.fault("look_up", times=1, **UNREACHABLE)
        await scene.do(Complete, escrow)
        unknown = await scene.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.UNKNOWN)
        payout = f"{unknown.payouts[0].id}:1"

        async def asked_in_vain() -> bool:
            return bool(sandbox.look_ups("transfers", transfer_group=payout))

        await soon(asked_in_vain)
        (created,) = sandbox.events(sandbox.requests(payout)[0]["reference"])
        tell(door, scene.servers.endpoints, created)
        await scene.until(escrow, is_paid)
        assert await settled(scene, created) == ["applied"]
        assert len(sandbox.transfers(payout)) == 1


async def test_edge_14_a_dispute_that_comes_before_the_funding_is_booked_waits_for_it(
    scene: Scene, sandbox: Sandbox, door: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bank is faster than our own reply: the event waits, wakes the charge, and is applied when money is held."""
    monkeypatch.setattr(timeouts, "ASK_AGAIN", NEVER)
    async with listening(scene):
        escrow = await scene.create()
        fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
        key = charge_of(fund)
        sandbox.fault("charge", "drop_reply_after", match={"key": key})
        sandbox.fault("look_up", times=2, **UNREACHABLE)
        funding = asyncio.create_task(scene.sender.send(fund))

        async def asked_in_vain() -> bool:
            return bool(sandbox.look_ups("charges", transfer_group=key))

        await soon(asked_in_vain)
        dispute = sandbox.happen("contest", key=key)
        (created,) = sandbox.events(dispute["id"])
        tell(door, scene.servers.endpoints, created)
        await asyncio.wait_for(funding, 30)
        assert await settled(scene, created) == ["applied"]
        assert scene.market.escrow(escrow).contested == 500000
        assert row(scene.servers.engine, created)["attempts"] > 1


async def test_edge_14_what_is_not_about_us_is_stored_and_ignored(scene: Scene, door: Engine) -> None:
    """Unknown kinds, objects without our key, and an older attempt of a payout change nothing."""
    async with listening(scene):
        escrow, _ = await by_card(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        await scene.do(Complete, escrow)
        payout = (await scene.until(escrow, is_paid)).payouts[0]
        version = scene.market.escrow(escrow).version
        foreign = an_event("charge.failed", id="ch_foreign", object="charge")
        unknown = an_event("customer.created", id="cus_1", object="customer")
        older = an_event("transfer.reversed", id="tr_1", object="transfer", metadata={"holdfast_key": f"{payout.id}:0"})
        nobodys = an_event("charge.dispute.created", id="du_unknown", object="dispute")
        told = [foreign, unknown, older, nobodys]
        tell(door, scene.servers.endpoints, *told)
        assert await settled(scene, *told) == ["ignored"] * 4
        assert [row(scene.servers.engine, one)["last_error"] is None for one in told] == [False] * 4
        assert scene.market.escrow(escrow).version == version


# Payments that banks take back ----------------------------------------------------------------------------------------


async def test_edge_16_a_charge_that_fails_late_freezes_what_is_still_held(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """The money never came: it leaves the hold and the gateway's cash, once for both events that tell it."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        failed = sandbox.happen("fail", key=key)
        told = sandbox.events(failed["id"], failed["payment_intent"])
        tell(door, scene.servers.endpoints, *told)
        await settled(scene, *told)
        after = scene.market.escrow(escrow)
        assert [(one.kind, one.status) for one in after.chargebacks] == [("failed_charge", ChargebackStatus.LOST)]
        assert (after.held, after.charged_back) == (0, 500000)
        assert scene.market.balance(*CASH) == 0
    scene.market.audit()


async def test_edge_16_a_charge_that_fails_after_the_release_is_taken_back_from_the_seller(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """The order of every clawback: what was paid out already is owed by the seller. The workflow had ended."""
    async with listening(scene):
        escrow, key = await by_card(scene, amount=150000, milestones=(150000,))
        await scene.do(StartWork, escrow)
        await scene.do(Complete, escrow)
        await scene.until(escrow, is_paid)
        assert await scene.completed(escrow) == State.COMPLETED
        failed = sandbox.happen("fail", key=key)
        told = sandbox.events(failed["id"])
        tell(door, scene.servers.endpoints, *told)
        assert await settled(scene, *told) == ["applied"]
        assert scene.market.escrow(escrow).charged_back == 150000
        assert scene.market.balance("receivable", "bob") == 135000
        assert scene.market.balance("fee_revenue", "platform") == 0
    scene.market.audit()


async def test_edge_17_a_chargeback_in_mid_escrow_is_frozen_then_restored_when_won(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """A part of the payment is contested: it goes to chargeback_hold, and comes back. The workflow knows both."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        await scene.do(StartWork, escrow)
        dispute = sandbox.happen("contest", key=key, amount=120000)
        tell(door, scene.servers.endpoints, *sandbox.events(dispute["id"]))
        await scene.until(escrow, lambda now: now.open_chargeback)
        assert scene.market.balance("chargeback_hold", escrow.id) == 120000
        assert scene.market.balance("escrow_hold", escrow.id) == 380000
        await adopted(scene, escrow, lambda now: now.contested == 120000)
        sandbox.happen("decide", reference=dispute["id"], status="won")
        closed = sandbox.events(dispute["id"])[-1]
        tell(door, scene.servers.endpoints, closed)
        assert await settled(scene, closed) == ["applied"]
        await adopted(scene, escrow, lambda now: (now.held, now.contested) == (500000, 0))
        assert scene.market.balance(*CASH) == 500000


async def test_edge_17_a_lost_chargeback_is_the_banks_and_not_refunded_a_second_time(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """The whole payment is lost: the escrow is over, and the books agree with the provider's balance."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        dispute = sandbox.happen("contest", key=key)
        sandbox.happen("decide", reference=dispute["id"], status="lost")
        closed = sandbox.events(dispute["id"])[-1]
        tell(door, scene.servers.endpoints, closed)
        assert await settled(scene, closed) == ["applied"]
        after = scene.market.escrow(escrow)
        assert (after.state, after.held, after.refunded, after.charged_back) == (State.CANCELLED, 0, 0, 500000)
        assert (await scene.refused(Refund, escrow)).code == "invalid_transition"
        assert scene.market.balance(*CASH) == 0
    scene.market.audit()


async def test_edge_18_a_refund_is_refused_while_the_chargeback_that_the_provider_told_of_is_open(
    scene: Scene, sandbox: Sandbox, door: Engine
) -> None:
    """The buyer cannot have the money from the bank and from us."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        dispute = sandbox.happen("contest", key=key)
        created = sandbox.events(dispute["id"])[0]
        tell(door, scene.servers.endpoints, created)
        assert await settled(scene, created) == ["applied"]
        assert (await scene.refused(Refund, escrow)).code == "chargeback_open"


# The workflow itself --------------------------------------------------------------------------------------------------


async def test_it_goes_on_with_a_fresh_history_and_comes_back_when_somebody_ended_it(
    scene: Scene, sandbox: Sandbox, door: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some rounds it continues as new; ended by hand, the next worker's start brings it back. Nothing is lost."""
    monkeypatch.setattr(timeouts, "GATEWAY_EVENTS_ROUNDS", 1)
    handle = scene.client.get_workflow_handle(GATEWAY_EVENTS)
    async with listening(scene):
        first = (await handle.describe()).run_id
        event = an_event("customer.created", id="cus_1", object="customer")
        tell(door, scene.servers.endpoints, event)
        assert await settled(scene, event) == ["ignored"]

        async def renewed() -> bool:
            return (await handle.describe()).run_id != first

        await soon(renewed)
        await handle.terminate("by hand")
    later = an_event("customer.created", id="cus_1", object="customer")
    tell(door, scene.servers.endpoints, later)
    async with listening(scene):
        assert await settled(scene, later) == ["ignored"]


async def test_one_event_that_cannot_be_applied_stops_no_other(scene: Scene, sandbox: Sandbox, door: Engine) -> None:
    """An event that makes our own code fail stays pending; those beside and behind it are applied."""
    async with listening(scene):
        escrow, key = await by_card(scene)
        dispute = sandbox.happen("contest", key=key)
        created = sandbox.events(dispute["id"])[0]
        unreadable = {"id": f"evt_unreadable_{new_id('cmd')}"}
        with door.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO gateway_event (provider, id, type, created, details) "
                    "VALUES ('stripe', :id, 'Not A Type', now(), '{}')"
                ),
                unreadable,
            )
        tell(door, scene.servers.endpoints, created)
        assert await settled(scene, created) == ["applied"]
        assert scene.market.escrow(escrow).contested == 500000
        assert row(scene.servers.engine, unreadable)["status"] == "pending"
