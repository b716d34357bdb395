"""Funding and starting: the buyer's money becomes held, the seller begins."""

from models import postings
from models.commands import Fund, StartWork
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow
from models.money import Money
from models.rules.creation import refuse_short_wallet
from models.states import State


def check_fund(escrow: Escrow, command: Fund) -> None:  # noqa: ARG001 - every check has the same signature
    """A payment method goes with the gateway, and only with it."""
    if (command.source == "gateway") != (command.payment_method is not None):
        rule = "needs" if command.source == "gateway" else "does not take"
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"source {command.source} {rule} a payment_method")


def fund(case: Case, command: Fund) -> Decision:
    """Hold the whole amount. A top-up of 500000 and a fund of 500000 leave the wallet at 0 and the hold at 500000.

    From the gateway the charge has already been credited to the wallet; if the escrow cannot take it any more, the
    money simply stays there. The reserve is for wallets, so it does not bind a charge made for this escrow.
    """
    escrow = case.escrow
    amount = escrow.money(escrow.amount)
    if command.source == "gateway":
        _refuse_uncharged(case)
        refuse_short_wallet(case, amount, Money(0, escrow.currency))
    else:
        refuse_short_wallet(case, amount, case.policies.reserve(escrow.currency))
    case.post(postings.fund(escrow.buyer, escrow.id, amount))
    case.change(funded=amount.amount, held=amount.amount)
    return case.emit("escrow.funded", amount=amount.amount, source=command.source).decision(State.FUNDED)


def _refuse_uncharged(case: Case) -> None:
    if case.funds.charge == "succeeded":
        return
    reason = case.funds.charge_reason or "the gateway has not confirmed the charge"
    raise RefusedError(ErrorCode.PAYMENT_DECLINED, f"the charge did not go through: {reason}", reason=reason)


def start_work(case: Case, command: StartWork) -> Decision:  # noqa: ARG001 - every rule has the same signature
    """The seller begins; no money moves."""
    return case.emit("escrow.started").decision(State.IN_PROGRESS)
