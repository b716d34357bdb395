"""Money coming in from the gateway: charged once, credited once, and held only when the charge is definite."""

import asyncio
from typing import Any

import pytest

from ledger import reads
from models import ids
from models.charges import ChargeOrder, charge_of, charge_order
from models.commands import Amend, Cancel, Fund
from models.errors import RefusedError
from models.escrow import Escrow
from models.states import State
from tests.builders import SELLER, order
from tests.market import Market
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene
from tests.workflow.test_payouts import UNREACHABLE

pytestmark = pytest.mark.anyio
BY_CARD: dict[str, Any] = {"source": "gateway", "payment_method": "pm_card_visa"}


def empty(scene: Scene) -> Scene:
    """A scene whose buyer has nothing in the wallet."""
    return Scene.of(scene.servers, Market(scene.servers.engine, purse=0), scene.client)


async def test_a_card_funds_an_escrow_through_the_wallet(scene: Scene, sandbox: Sandbox) -> None:
    """One charge at the gateway, one top up and one hold in the books, and the wallet is as empty as before."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    funded = await scene.sender.send(fund)
    assert (funded.state, funded.held) == (State.FUNDED, 500000)
    assert [one["amount"] for one in sandbox.charges(charge_of(fund))] == [500000]
    assert scene.market.balance("gateway_cash", "stripe") == 500000
    assert scene.market.balance("wallet", "alice") == 0
    scene.market.audit()


async def test_a_declined_card_is_payment_declined_and_the_escrow_waits_for_another(scene: Scene) -> None:
    """A definite no is a typed refusal with the reason; nothing is held, and another card works."""
    scene = empty(scene)
    escrow = await scene.create()
    refusal = await scene.refused(Fund, escrow, source="gateway", payment_method="pm_card_chargeDeclined")
    assert (refusal.code, refusal.kind.status) == ("payment_declined", 402)
    assert "generic_decline" in refusal.details["reason"]
    assert scene.market.escrow(escrow) == escrow
    assert (await scene.do(Fund, escrow, **BY_CARD)).state == State.FUNDED


async def test_edge_09_a_charge_of_unknown_outcome_is_looked_up_and_then_funds(scene: Scene, sandbox: Sandbox) -> None:
    """While the gateway does not say, the escrow is not funded; when it does, it is, by the one charge."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    key = charge_of(fund)
    sandbox.fault("charge", "drop_reply_after", match={"key": key})
    sandbox.fault("look_up", times=1000, **UNREACHABLE)
    funding = asyncio.create_task(scene.sender.send(fund))

    async def charged() -> bool:
        return scene.market.scalar("SELECT count(*) FROM charge WHERE id = :id", id=key) == 1 and bool(
            sandbox.requests(key)
        )

    await soon(charged)
    assert scene.market.escrow(escrow).state == State.CREATED
    assert not funding.done()
    sandbox.behave()
    assert (await asyncio.wait_for(funding, 30)).state == State.FUNDED
    assert len(sandbox.charges(key)) == 1


async def test_two_card_fundings_at_once_charge_once(scene: Scene, sandbox: Sandbox) -> None:
    """The second finds the escrow funded before it would ask the gateway, and is refused without a charge."""
    scene = empty(scene)
    escrow = await scene.create()
    both = [order(Fund, escrow, **BY_CARD) for _ in range(2)]
    answers = await asyncio.gather(*(scene.sender.send(fund) for fund in both), return_exceptions=True)
    (lost,) = (answer for answer in answers if isinstance(answer, RefusedError))
    assert lost.refusal.code == "invalid_transition"
    assert sum(len(sandbox.charges(charge_of(fund))) for fund in both) == 1
    assert scene.market.balance("gateway_cash", "stripe") == 500000


async def test_edge_02_a_card_funding_sent_twice_charges_once(scene: Scene, sandbox: Sandbox) -> None:
    """The same command again, at once and afterwards: one charge, one answer."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    first, second = await asyncio.gather(scene.sender.send(fund), scene.sender.send(fund))
    assert first == second == await scene.sender.send(fund)
    assert len(sandbox.charges(charge_of(fund))) == 1


async def test_edge_29_money_for_an_escrow_that_ended_meanwhile_stays_in_the_buyers_wallet(
    scene: Scene, sandbox: Sandbox
) -> None:
    """Cancelled while the card was being charged: the funding is refused, and the money is the buyer's."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    sandbox.fault("charge", "delay", seconds=0.5, match={"key": charge_of(fund)})
    funding = asyncio.create_task(scene.refusal(fund))

    async def begun() -> bool:
        return bool(scene.market.scalar("SELECT count(*) FROM charge WHERE tenant_id = :tenant"))

    await soon(begun)
    assert (await scene.do(Cancel, escrow)).state == State.CANCELLED
    assert (await funding).code == "invalid_transition"
    (wallet,) = reads.wallets(scene.servers.engine, scene.market.tenant, "alice")
    assert (wallet.available, wallet.locked) == (500000, 0)


async def test_edge_29_a_charge_short_of_an_amount_raised_meanwhile_stays_in_the_wallet(
    scene: Scene, sandbox: Sandbox
) -> None:
    """The agreement was raised while the card was charged: the escrow stays ``created``, the money is the buyer's."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    sandbox.fault("charge", "delay", seconds=0.5, match={"key": charge_of(fund)})
    funding = asyncio.create_task(scene.refusal(fund))

    async def begun() -> bool:
        return bool(scene.market.scalar("SELECT count(*) FROM charge WHERE tenant_id = :tenant"))

    await soon(begun)
    await scene.do(Amend, escrow, amount=600000)
    refusal = await funding
    assert refusal.code == "payment_required"
    assert (refusal.details["required"], refusal.details["available"]) == (600000, 500000)
    assert scene.market.escrow(escrow).state == State.CREATED


async def test_edge_12_a_top_up_under_the_same_id_with_another_amount_never_reaches_the_gateway(
    scene: Scene, sandbox: Sandbox
) -> None:
    """Refused here by name; the gateway has seen the first amount only."""
    charge = scene.market.charge(700)
    assert (await scene.sender.top_up(charge)).status == "succeeded"
    with pytest.raises(RefusedError) as refused:
        await scene.sender.top_up(charge.model_copy(update={"amount": 701}))
    assert refused.value.refusal.code == "idempotency_key_reused"
    assert [one["amount"] for one in sandbox.charges(charge.id)] == [700]
    assert len(sandbox.requests(charge.id)) == 1
    assert scene.market.balance("wallet", "alice") == 10**9 + 700


async def test_a_top_up_whose_workflow_is_lost_while_it_is_waited_for_goes_on(scene: Scene, sandbox: Sandbox) -> None:
    """The sender starts it again under the same id: the card is charged once, and the answer is definite."""
    charge = scene.market.charge(700)
    sandbox.fault("charge", "delay_after", seconds=1.5, match={"key": charge.id})
    topping = asyncio.create_task(scene.sender.top_up(charge))

    async def charged() -> bool:
        return len(sandbox.charges(charge.id)) == 1

    await soon(charged)
    await scene.client.get_workflow_handle(ids.charge_workflow(charge.id)).terminate()
    assert (await asyncio.wait_for(topping, 30)).status == "succeeded"
    assert [one["amount"] for one in sandbox.charges(charge.id)] == [700]
    assert scene.market.balance("wallet", "alice") == 10**9 + 700


async def test_a_declined_top_up_answers_its_reason(scene: Scene) -> None:
    """A top-up is definite when it is answered: this one is declined, and the wallet is as it was."""
    declined = await scene.sender.top_up(
        scene.market.charge(700, payment_method="pm_card_chargeDeclinedInsufficientFunds")
    )
    assert declined.status == "declined"
    assert declined.reason is not None
    assert "insufficient_funds" in declined.reason
    assert scene.market.balance("wallet", "alice") == 10**9


def wanted_days_ago(scene: Scene, charge: ChargeOrder) -> None:
    """Three days ago it was written down, and then nothing looked after it: the provider has never heard of it."""
    with scene.servers.owner() as books:
        books.execute(
            """INSERT INTO charge (id, tenant_id, party, amount, currency, payment_method, status, created_at)
               VALUES (%s, %s, %s, %s, %s, %s, 'pending', now() - interval '3 days')""",
            (charge.id, charge.tenant, charge.party, charge.amount, charge.currency, charge.payment_method),
        )


async def test_a_top_up_that_never_reached_the_provider_charges_no_card_days_later(
    scene: Scene, sandbox: Sandbox
) -> None:
    """Whoever starts it again, it is declined for good and says why; the card is left alone."""
    charge = scene.market.charge(700)
    wanted_days_ago(scene, charge)
    declined = await scene.sender.top_up(charge)
    assert (declined.status, str(declined.reason).partition(":")[0]) == ("declined", "expired")
    assert await scene.sender.top_up(charge) == declined
    assert (sandbox.requests(charge.id), sandbox.charges(charge.id)) == ([], [])
    assert scene.market.balance("wallet", "alice") == 10**9


async def test_a_funding_that_never_reached_the_provider_is_payment_declined_days_later(
    scene: Scene, sandbox: Sandbox
) -> None:
    """The same funding answers 402 with the reason, and a new one charges the card."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, **BY_CARD)
    wanted_days_ago(scene, charge_order(escrow, fund, 500000))
    refusal = await scene.refusal(fund)
    assert (refusal.code, refusal.kind.status) == ("payment_declined", 402)
    assert refusal.details["reason"].startswith("expired: ")
    assert sandbox.charges(charge_of(fund)) == []
    assert (await scene.do(Fund, escrow, **BY_CARD)).state == State.FUNDED


@pytest.mark.parametrize("version", [None, 10**9], ids=["any version", "a version to come"])
async def test_a_stranger_cannot_have_the_buyers_card_charged(
    scene: Scene, sandbox: Sandbox, version: int | None
) -> None:
    """Who may not fund the escrow does not get as far as the gateway, by update or by signal."""
    scene = empty(scene)
    escrow = await scene.create()
    fund = order(Fund, escrow, by=SELLER, expected_version=version, **BY_CARD)
    assert (await scene.refusal(fund)).code == "forbidden"
    again = order(Fund, escrow, by=SELLER, expected_version=version, **BY_CARD)
    await scene.handle(escrow).signal("fund", scene.sealed(again))
    await soon(lambda: _answered(scene, escrow))
    assert sandbox.charges(charge_of(fund)) == sandbox.charges(charge_of(again)) == []


async def _answered(scene: Scene, escrow: Escrow) -> bool:
    return scene.market.answers(escrow).count(("fund", "forbidden")) == 2


async def test_a_used_command_id_does_not_charge_a_card(scene: Scene, sandbox: Sandbox) -> None:
    """An id that stands for another command is refused before the gateway is asked."""
    scene = empty(scene)
    escrow = await scene.create()
    short = order(Fund, escrow)
    assert (await scene.refusal(short)).code == "payment_required"
    reused = order(Fund, escrow, id=short.id, **BY_CARD)
    assert (await scene.refusal(reused)).code == "idempotency_key_reused"
    assert sandbox.charges(charge_of(reused)) == []
