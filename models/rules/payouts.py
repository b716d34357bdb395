"""Money out: the ledger books a payout before the gateway is asked, and only a definite answer moves it again.

Source: domain.md, section 11. None of these commands changes the escrow's state.
"""

from models import postings
from models.commands import Command, RecordPayout, RetryPayout, SendPayout
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow, Payout
from models.states import MilestoneStatus, PayoutStatus

GATEWAY = "stripe"


def check_send(escrow: Escrow, command: SendPayout) -> None:
    """A payout is sent once per generation."""
    _refuse_status(escrow, command, command.payout, command.generation, frozenset({PayoutStatus.DUE}))


def send(case: Case, command: SendPayout) -> Decision:
    """Ledger first: 135000 moves from payable to in transit. Without a destination nothing moves and it has failed."""
    payout = _named(case.escrow, command.payout)
    destination = payout.destination or case.funds.seller_destination
    if destination is None:
        reason = "the seller has no payout destination"
        case.change_payout(payout.id, status=PayoutStatus.FAILED, reason=reason)
        return case.emit("payout.failed", payout=payout.id, reason=reason).decision(case.escrow.state)
    case.change_payout(payout.id, status=PayoutStatus.IN_TRANSIT, destination=destination, reason=None)
    case.post(postings.payout_sent(payout.party, payout.id, case.escrow.money(payout.amount)))
    return case.emit("payout.sent", payout=payout.id, amount=payout.amount).decision(case.escrow.state)


def check_record(escrow: Escrow, command: RecordPayout) -> None:
    """Only a payout on its way has an outcome; one for an older generation is too late."""
    legal = {PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN}
    if command.outcome == "unknown":
        legal = {PayoutStatus.IN_TRANSIT}
    _refuse_status(escrow, command, command.payout, command.generation, frozenset(legal))


def record(case: Case, command: RecordPayout) -> Decision:
    """Book the outcome: paid leaves by the gateway's cash, failed is payable again, unknown stays in transit."""
    payout = _named(case.escrow, command.payout)
    amount = case.escrow.money(payout.amount)
    status = PayoutStatus(command.outcome)
    case.change_payout(payout.id, status=status, reference=command.reference, reason=command.reason)
    if status == PayoutStatus.PAID:
        case.post(postings.payout_paid(GATEWAY, payout.id, amount))
        for milestone in payout.milestones:
            case.change_milestone(milestone, status=MilestoneStatus.PAID)
    elif status == PayoutStatus.FAILED:
        case.post(postings.payout_failed(payout.party, payout.id, amount))
    case.emit(f"payout.{status}", payout=payout.id, amount=payout.amount, reason=command.reason)
    return case.decision(case.escrow.state)


def check_retry(escrow: Escrow, command: RetryPayout) -> None:
    """Only a definitely failed payout may be sent again."""
    _refuse_status(escrow, command, command.payout, None, frozenset({PayoutStatus.FAILED}))


def retry(case: Case, command: RetryPayout) -> Decision:
    """Make a failed payout due once more, as a new generation with a key of its own."""
    payout = _named(case.escrow, command.payout)
    case.change_payout(
        payout.id,
        status=PayoutStatus.DUE,
        generation=payout.generation + 1,
        destination=command.destination or case.funds.seller_destination or payout.destination,
        reason=None,
    )
    return case.emit("payout.due", payout=payout.id, amount=payout.amount).decision(case.escrow.state)


def _named(escrow: Escrow, identifier: str) -> Payout:
    payout = escrow.payout(identifier)
    if payout is None:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            f"this escrow has no payout {identifier}",
            payouts=[payout.id for payout in escrow.payouts],
        )
    return payout


def _refuse_status(
    escrow: Escrow, command: Command, identifier: str, generation: int | None, legal: frozenset[PayoutStatus]
) -> None:
    payout = _named(escrow, identifier)
    if payout.status in legal and generation in {None, payout.generation}:
        return
    raise RefusedError(
        ErrorCode.INVALID_TRANSITION,
        f"{command.name} is not possible: the payout is {payout.status} in generation {payout.generation}",
        state=str(escrow.state),
        event=command.name,
        allowed=["retry_payout"] if payout.status == PayoutStatus.FAILED else [],
        payout_status=str(payout.status),
        generation=payout.generation,
    )
