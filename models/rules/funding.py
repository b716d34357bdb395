"""Funding and starting: the buyer's money becomes held, the seller begins."""

from models import postings
from models.commands import Fund, StartWork
from models.compliance import objection_to_funding
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow
from models.money import Money
from models.quotes import surcharge
from models.rules.creation import refuse_short_wallet, top_up_url
from models.settling import refuse_frozen
from models.states import State


def check_fund(escrow: Escrow, command: Fund) -> None:  # noqa: ARG001 - every check has the same signature
    """A payment method goes with the gateway, and only with it."""
    if (command.source == "gateway") != (command.payment_method is not None):
        rule = "needs" if command.source == "gateway" else "does not take"
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"source {command.source} {rule} a payment_method")


def fund(case: Case, command: Fund) -> Decision:
    """Hold the whole amount. A top-up of 500000 and a fund of 500000 leave the wallet at 0 and the hold at 500000.

    Where the buyer pays the fee, it is added: 50000 more at 10 %. With ``pin_at: funding`` the version of the fee
    policy in force now prices the releases.

    From the gateway the charge has already been credited to the wallet; if the escrow cannot take it any more, the
    money simply stays there. The reserve is for wallets, so it does not bind a charge made for this escrow.
    """
    escrow = case.escrow
    refuse_frozen(case)
    added = surcharge(case.policies, escrow.category, _plan(escrow), case.standing)
    amount = escrow.money(escrow.amount) + added
    if objection := objection_to_funding(case.policies.compliance, amount, escrow.buyer, case.funds.buyer):
        raise objection.refusal()
    if command.source == "gateway":
        _refuse_uncharged(case, amount)
        refuse_short_wallet(case, amount, Money(0, escrow.currency), added)
    else:
        refuse_short_wallet(case, amount, case.policies.reserve(escrow.currency), added)
    case.post(postings.fund(escrow.buyer, escrow.id, amount))
    fees = case.policies.fees
    pinned = case.policies.fees_version if fees and fees.pin_at == "funding" else None
    case.change(funded=amount.amount, held=amount.amount, surcharge=added.amount, fee_policy_version=pinned)
    return case.emit("escrow.funded", amount=amount.amount, source=command.source).decision(State.FUNDED)


def _plan(escrow: Escrow) -> list[Money]:
    """The releases that the agreement foresees: each milestone, and what belongs to none."""
    parts = [milestone.amount for milestone in escrow.milestones]
    return [escrow.money(part) for part in (*parts, escrow.amount - sum(parts)) if part]


def _refuse_uncharged(case: Case, amount: Money) -> None:
    """A charge funds what it was made for. What it is short of does not come out of the wallet's own money unasked."""
    charged = case.funds.charged or 0
    if case.funds.charge == "succeeded":
        if charged >= amount.amount:
            return
        raise RefusedError(
            ErrorCode.PAYMENT_REQUIRED,
            f"the charge of {Money(charged, amount.currency)} is short of {amount}; it is in the wallet: top it up and "
            "fund from there",
            required=amount.amount,
            available=charged,
            reserve=0,
            currency=amount.currency,
            top_up_url=top_up_url(case),
        )
    reason = case.funds.charge_reason or "the gateway has not confirmed the charge"
    raise RefusedError(ErrorCode.PAYMENT_DECLINED, f"the charge did not go through: {reason}", reason=reason)


def start_work(case: Case, command: StartWork) -> Decision:  # noqa: ARG001 - every rule has the same signature
    """The seller begins; no money moves."""
    return case.emit("escrow.started").decision(State.IN_PROGRESS)
