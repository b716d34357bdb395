"""Carrying out a division: the settlement's row and postings, the escrow's counters, what the seller can expect."""

from models import postings
from models.compliance import objection_to_moving
from models.decision import Case, FeeRuleRef, Settlement, SettlementOutcome
from models.dispute_fees import DisputeCharge
from models.divisions import Division, Projection
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow, Release
from models.exchange import Rate, refuse_stale, translate
from models.fees import Fee
from models.money import Money
from models.paying_out import make_due


def settle(
    case: Case,
    outcome: SettlementOutcome,
    division: Division,
    fee: Fee,
    base: Money,
    *,
    steps: tuple[str, ...],
    frozen: Money | None = None,
    milestones: tuple[str, ...] = (),
    dispute: str | None = None,
    projection: Projection | None = None,
    dispute_charge: DisputeCharge | None = None,
) -> None:
    """Record a division of held or frozen money, post it, and make the seller's part due.

    ``base`` is what leaves of the deal's own amount; what the division has beyond it comes from the buyer's surcharge.
    ``frozen`` of the division's total comes out of a dispute, the rest is held. Raises ``RefusedError`` where nothing
    may move: a party is blocked, a chargeback is open, there is no exchange rate.
    """
    escrow = case.escrow
    refuse_frozen(case)
    rate = rate_of(case)
    frozen = frozen or _nothing(base)
    taken = dispute_charge.taken if dispute_charge else _nothing(base)
    principal, platform_fee, added = _released(outcome, division, fee, base, dispute_charge)
    settlement = Settlement(
        id=case.id("set"),
        outcome=outcome,
        milestones=milestones,
        dispute=dispute,
        division=division,
        rule=FeeRuleRef.of(fee),
        steps=steps,
        rate=rate,
        translation=translate(division, rate),
        dispute_fee=taken.amount,
        volume=principal.amount,
        projection=projection,
    )
    case.settlement = settlement
    case.post(postings.settle(outcome, escrow.id, frozen, escrow.buyer, escrow.seller, division, taken))
    _count(case, division, base, frozen)
    if principal.amount:
        _remember(case, settlement, principal, platform_fee, added)
        case.funds = case.funds.released(principal.amount)
    case.emit("settlement.posted", settlement=settlement.id, outcome=outcome, total=division.total.amount)
    if dispute_charge:
        _owe(case, dispute_charge)
    make_due(case, settlement)


def fee_steps(fee: Fee, priced: Money, surcharge: Money) -> tuple[str, ...]:
    """How a fee came about; and what was taken of it, where the buyer had added less for it than is due now."""
    due = fee.parts(fee.on(priced))[0]
    if due.amount <= surcharge.amount:
        return fee.steps(priced)
    return (
        *fee.steps(priced),
        f"of {due.amount} for the buyer only {surcharge.amount} had been added: {surcharge.amount}",
    )


def refuse_frozen(case: Case) -> None:
    """Raise where no money of the escrow may move at all: a blocked party, a chargeback that is open."""
    refuse_contested(case)
    escrow, funds = case.escrow, case.funds
    for objection in (
        objection_to_moving("buyer", escrow.buyer, funds.buyer),
        objection_to_moving("seller", escrow.seller, funds.seller),
    ):
        if objection:
            raise objection.refusal()


def refuse_contested(case: Case) -> None:
    """Raise while the payer's bank has not decided on a chargeback."""
    escrow = case.escrow
    if chargeback := escrow.open_chargeback:
        raise RefusedError(
            ErrorCode.CHARGEBACK_OPEN,
            f"{chargeback.kind} {chargeback.reference} over {escrow.money(chargeback.amount)} is open: nothing is "
            "released or refunded until the payer's bank has decided",
            chargeback=chargeback.id,
        )


def rate_of(case: Case) -> Rate:
    """The exchange rate a settlement stores. Raises ``RefusedError`` (exchange_rate_unavailable).

    Rates belong to the real world, so their age is told by the real clock, not by a test tenant's.
    """
    escrow = case.escrow
    quote = case.policies.reporting_currency or escrow.currency
    today = escrow.real_time(max(case.now, case.funds.asked_at or case.now)).date()
    if quote == escrow.currency:
        return Rate.identity(quote, today)
    refuse_stale(case.funds.rate, escrow.currency, quote, today, case.policies.release.max_rate_age)
    if case.funds.rate is None:
        raise AssertionError("unreachable: a missing rate was refused")
    return case.funds.rate


def _released(
    outcome: SettlementOutcome, division: Division, fee: Fee, base: Money, charge: DisputeCharge | None
) -> tuple[Money, Money, Money]:
    """What was released of the deal's amount, the fee for it, and the buyer's part of that fee.

    A release of 150000 at 10 % is 150000, 15000, 0; where the buyer pays the fee it is 150000, 15000, 15000. A split of
    100000 at 10 % and 0.7 is 73000, 10000, 0. A dispute fee comes after all that: a clawback does not give it back.
    """
    nothing = _nothing(base)
    if outcome in {"refund", "reversal"}:
        return nothing, nothing, nothing
    platform_fee, payout = division.platform_fee, division.seller_payout
    if charge:
        platform_fee, payout = platform_fee - charge.seller_taken - charge.buyer_taken, payout + charge.seller_taken
    added = min(fee.parts(platform_fee)[0].amount, division.total.amount - base.amount)
    buyers = Money(added, base.currency)
    return platform_fee - buyers + payout, platform_fee, buyers


def _count(case: Case, division: Division, base: Money, frozen: Money) -> None:
    escrow = case.escrow
    total, back = division.total.amount, division.buyer_refund.amount
    held = total - frozen.amount
    case.change(
        held=escrow.held - held,
        disputed=escrow.disputed - frozen.amount,
        # A dispute over everything froze what was added for the fee as well; otherwise that is still held.
        surcharge=escrow.surcharge - min(held, total - base.amount),
        released=escrow.released + total - back,
        refunded=escrow.refunded + back,
    )


def _remember(case: Case, settlement: Settlement, principal: Money, fee: Money, buyers: Money) -> None:
    release = Release(
        id=settlement.id,
        milestones=settlement.milestones,
        principal=principal.amount,
        fee=fee.amount,
        buyer_fee=buyers.amount,
        policy_version=settlement.rule.policy_version,
        rule=settlement.rule.name,
        fee_rate=settlement.rule.rate,
        rate=settlement.rate,
    )
    case.change(releases=(*case.escrow.releases, release))


def _owe(case: Case, charge: DisputeCharge) -> None:
    for party, money in ((case.escrow.seller, charge.seller_owed), (case.escrow.buyer, charge.buyer_owed)):
        if money.amount:
            case.post(postings.owe_dispute_fee(party, money))
            case.emit("receivable.recorded", party=party, amount=money.amount, reason="dispute fee")


def held_rest(escrow: Escrow, leaving: Money) -> bool:
    """Whether nothing of the deal's amount is left once this leaves: the unused surcharge goes along."""
    return escrow.principal == leaving.amount and not escrow.disputed


def _nothing(like: Money) -> Money:
    return Money(0, like.currency)
