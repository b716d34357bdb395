"""Everything the books say about a tenant's money beside everything the model says, to the last unit."""

import json
from collections import defaultdict
from typing import Any, Final

from sqlalchemy import Engine, text

from ledger import reads
from tests.database.books_model import UNSENT, World

_ALL: Final = """
SELECT json_build_object(
    'balances', (SELECT json_agg(json_build_array(account_kind, owner, currency, balance)) FROM account_balance
        WHERE tenant_id = :tenant AND balance <> 0),
    'volume', (SELECT json_agg(json_build_array(party, currency, released)) FROM party_volume
        WHERE tenant_id = :tenant AND released <> 0),
    'escrows', (SELECT json_object_agg(id, json_build_array(state, version, funded, held, disputed, contested, released,
        refunded, charged_back, surcharge, fee_policy_version)) FROM escrow WHERE tenant_id = :tenant),
    'milestones', (SELECT json_object_agg(m.id, json_build_array(m.status, m.amount, m.reversed, m.clawed))
        FROM milestone m JOIN escrow e ON e.id = m.escrow_id WHERE e.tenant_id = :tenant),
    'payouts', (SELECT json_object_agg(p.id, json_build_array(p.status, p.generation, p.amount, p.hold, p.enough))
        FROM payout p JOIN escrow e ON e.id = p.escrow_id WHERE e.tenant_id = :tenant),
    'settlements', (SELECT json_agg(json_build_array(escrow_id, outcome, total, platform_fee, seller_payout,
        buyer_refund, fx_total, fx_platform_fee + fx_seller_payout + fx_buyer_refund)) FROM settlement
        WHERE tenant_id = :tenant),
    'rows', json_build_array((SELECT count(*) FROM entry WHERE tenant_id = :tenant),
        (SELECT count(*) FROM ledger_transaction WHERE tenant_id = :tenant),
        (SELECT count(*) FROM settlement WHERE tenant_id = :tenant),
        (SELECT count(*) FROM charge WHERE tenant_id = :tenant)),
    'record', json_build_array((SELECT count(*) FROM command WHERE tenant_id = :tenant),
        (SELECT count(*) FROM audit WHERE tenant_id = :tenant),
        (SELECT count(*) FROM event WHERE tenant_id = :tenant))
)::text
"""


def everything(engine: Engine, tenant: str) -> dict[str, Any]:
    """What the books say of a tenant, in one statement."""
    with engine.connect() as connection:
        return dict(json.loads(connection.execute(text(_ALL), {"tenant": tenant}).scalar_one()))


def compare(books: dict[str, Any], world: World) -> None:
    """Every balance, counter, volume, milestone, payout and settlement is what the model expects."""
    balances = {(kind, owner, currency): units for kind, owner, currency, units in books["balances"] or []}
    same("balances", balances, {account: units for account, units in world.balances.items() if units})
    volume = {(party, currency): units for party, currency, units in books["volume"] or []}
    same("party_volume", volume, {one: units for one, units in world.volume.items() if units})
    same("escrows", books["escrows"] or {}, {one: _counters(world, one) for one in world.deals})
    parts = [part for deal in world.deals.values() for part in deal.parts]
    expected = {part.id: [part.status, part.amount, part.reversed, part.clawed] for part in parts}
    same("milestones", books["milestones"] or {}, expected)
    claims = [claim for deal in world.deals.values() for claim in deal.claims]
    payouts = {one.id: [one.status, one.generation, one.amount, one.hold, one.enough] for one in claims}
    same("payouts", books["payouts"] or {}, payouts)
    _settlements(books, world)
    _claims_cover_the_payables(world)


def _counters(world: World, escrow: str) -> list[Any]:
    deal = world.deals[escrow]
    frozen = [world.of(kind, escrow, deal.currency) for kind in ("disputed_funds", "chargeback_hold")]
    counters = [deal.funded, world.held(deal), *frozen, deal.released, deal.refunded, deal.lost]
    assert counters[0] == sum(counters[1:]), "the model lost money"
    pinned = None if deal.pinned is None else deal.pinned + 1
    return [deal.state, deal.version, *counters, deal.added, pinned]


def _settlements(books: dict[str, Any], world: World) -> None:
    made = defaultdict(list)
    for escrow, *row, fx_total, fx_parts in books["settlements"] or []:
        outcome, total, fee, seller, buyer = row
        assert total == fee + seller + buyer, "a settlement does not add up"
        assert fx_total == fx_parts, "a settlement does not add up in the reporting currency"
        made[escrow].append((outcome, total, fee, seller, buyer, fx_total))
    for escrow, deal in world.deals.items():
        same(f"settlements of {escrow}", sorted(made[escrow]), sorted(deal.settled))


def _claims_cover_the_payables(world: World) -> None:
    """Nothing is payable that no payout would ever send."""
    unsent: dict[tuple[str, str], int] = defaultdict(int)
    for deal in world.deals.values():
        unsent[deal.seller, deal.currency] += sum(one.amount for one in deal.claims if one.status in UNSENT)
    for (kind, owner, currency), units in world.balances.items():
        assert kind != "payable" or units <= unsent[owner, currency], (
            f"{units} of {owner}'s payable is nobody's to send"
        )


def compare_wallets(engine: Engine, tenant: str, world: World, *parties: str) -> None:
    """``balance = available + locked``, where locked is what a buyer has held or disputed. Source: domain.md, 7."""
    for party in parties:
        told = {one.currency: (one.available, one.locked) for one in reads.wallets(engine, tenant, party)}
        for currency in ("EUR", "JPY"):
            bought = [one for one in world.deals.values() if (one.buyer, one.currency) == (party, currency)]
            expected = (world.of("wallet", party, currency), sum(world.left(one) for one in bought))
            same(f"wallet of {party}", told.get(currency, (0, 0)), expected)


def trial_balance_is_even(engine: Engine, tenant: str) -> None:
    """Per currency debits and credits are the same."""
    off: dict[str, int] = defaultdict(int)
    for line in reads.trial_balance(engine, tenant):
        off[line.currency] += line.debit - line.credit
    assert not any(off.values()), f"the trial balance is off: {dict(off)}"


def same(what: str, books: Any, model: Any) -> None:
    """Fail with the differences alone: the whole of both is too much to read."""
    if books == model:
        return
    if isinstance(books, dict) and isinstance(model, dict):
        differ = [key for key in books.keys() | model.keys() if books.get(key) != model.get(key)]
        raise AssertionError(
            f"{what}: " + "; ".join(f"{k}: books {books.get(k)}, model {model.get(k)}" for k in differ)
        )
    raise AssertionError(f"{what}: books {books}, model {model}")
