"""Money out: the ledger books a payout before the gateway is asked, and only a definite answer moves it again.

Source: domain.md, section 11. None of these commands changes the escrow's state.
"""

from models import postings
from models.commands import Command, RecordPayout, RequestPayout, RetryPayout, SendPayout
from models.decision import Case, Decision, InvalidDestination
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow, Payout
from models.paying_out import consider, hold_of_party, net_receivable, retry_deadlines
from models.states import MilestoneStatus, PayoutStatus

GATEWAY = "stripe"


def check_send(escrow: Escrow, command: SendPayout) -> None:
    """A payout is sent once per generation."""
    _refuse_status(escrow, command, command.payout, command.generation, frozenset({PayoutStatus.DUE}))


def send(case: Case, command: SendPayout) -> Decision:
    """Ledger first: 135000 moves from payable to in transit. What cannot go is held or has failed, and nothing moves.

    Clawbacks may have taken from the payable, and the seller may owe something: no more is sent than what is there and
    free of debt.
    """
    payout, escrow = _named(case.escrow, command.payout), case.escrow
    if payout.hold or hold_of_party(case, payout):
        # A new generation: the command to send this one is used up.
        case.change_payout(payout.id, generation=payout.generation + 1)
        consider(case, _named(case.escrow, payout.id))
        return case.decision(escrow.state)
    destination = payout.destination or case.funds.seller.destination
    if why := _unusable(case, destination):
        return _fail(case, payout, why)
    there = min(payout.amount, case.funds.seller.payable)
    netted = net_receivable(case, there)
    amount = there - netted
    if amount <= 0:
        reason = "all of it was owed to the platform or taken back"
        case.change_payout(payout.id, status=PayoutStatus.CANCELLED, netted=payout.netted + netted, reason=reason)
        return case.emit("payout.cancelled", payout=payout.id, amount=payout.amount, reason=reason).decision(
            escrow.state
        )
    case.change_payout(
        payout.id,
        status=PayoutStatus.IN_TRANSIT,
        amount=amount,
        netted=payout.netted + netted,
        destination=destination,
        reason=None,
    )
    case.post(postings.payout_sent(payout.party, payout.id, escrow.money(amount)))
    return case.emit("payout.sent", payout=payout.id, amount=amount).decision(escrow.state)


def _unusable(case: Case, destination: str | None) -> str | None:
    seller = case.funds.seller
    if destination is None:
        return "the seller has no payout destination"
    if destination == seller.invalid_destination:
        return f"the destination {destination} is invalid: {seller.invalid_because}"
    return None


def _fail(case: Case, payout: Payout, reason: str) -> Decision:
    case.change_payout(payout.id, status=PayoutStatus.FAILED, reason=reason)
    case.schedule(retry_deadlines(case, payout))
    return case.emit("payout.failed", payout=payout.id, amount=payout.amount, reason=reason).decision(case.escrow.state)


def check_record(escrow: Escrow, command: RecordPayout) -> None:
    """Only a payout on its way has an outcome, only a paid one comes back; for an older generation it is too late."""
    legal = {
        "unknown": {PayoutStatus.IN_TRANSIT},
        "returned": {PayoutStatus.PAID},
    }.get(command.outcome, {PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN})
    _refuse_status(escrow, command, command.payout, command.generation, frozenset(legal))


def record(case: Case, command: RecordPayout) -> Decision:
    """Book the outcome: paid leaves by the gateway's cash, failed is payable again, unknown stays in transit.

    What comes back later (a closed account) is payable again, and its destination is not used any more.
    """
    payout = _named(case.escrow, command.payout)
    amount = case.escrow.money(payout.amount)
    status = PayoutStatus(command.outcome)
    reference = command.reference or payout.reference
    if status == PayoutStatus.FAILED:
        case.change_payout(payout.id, reference=reference)
        case.post(postings.payout_failed(payout.party, payout.id, amount))
        return _fail(case, payout, command.reason or "the gateway declined it")
    case.change_payout(payout.id, status=status, reference=reference, reason=command.reason)
    if status == PayoutStatus.PAID:
        case.post(postings.payout_paid(GATEWAY, payout.id, amount))
        _mark(case, payout, MilestoneStatus.APPROVED, MilestoneStatus.PAID)
    elif status == PayoutStatus.RETURNED:
        case.post(postings.payout_returned(GATEWAY, payout.party, amount))
        _mark(case, payout, MilestoneStatus.PAID, MilestoneStatus.APPROVED)
        why = command.reason or "money sent there came back"
        case.invalid_destination = InvalidDestination(payout.party, payout.destination or "", why)
    case.emit(f"payout.{status}", payout=payout.id, amount=payout.amount, reason=command.reason)
    return case.decision(case.escrow.state)


def _mark(case: Case, payout: Payout, expected: MilestoneStatus, status: MilestoneStatus) -> None:
    for milestone in case.escrow.milestones:
        if milestone.id in payout.milestones and milestone.status == expected:
            case.change_milestone(milestone.id, status=status)


def check_retry(escrow: Escrow, command: RetryPayout) -> None:
    """Only a definitely failed or a returned payout may be sent again."""
    legal = frozenset({PayoutStatus.FAILED, PayoutStatus.RETURNED})
    _refuse_status(escrow, command, command.payout, None, legal)


def retry(case: Case, command: RetryPayout) -> Decision:
    """Make a payout due once more, as a new generation with a key of its own."""
    return send_again(case, command.payout, command.destination)


def send_again(case: Case, identifier: str, destination: str | None = None) -> Decision:
    """The same by hand and by policy; to the destination that is given, or the party's own when it is sent."""
    payout = _named(case.escrow, identifier)
    case.change_payout(
        payout.id,
        status=PayoutStatus.DUE,
        generation=payout.generation + 1,
        destination=destination,
        requested=True,
        enough=True,
        reason=None,
    )
    consider(case, _named(case.escrow, payout.id))
    return case.decision(case.escrow.state)


def check_request(escrow: Escrow, command: RequestPayout) -> None:
    """Only a payout that is held waits for somebody."""
    payout = _named(escrow, command.payout)
    if payout.status != PayoutStatus.DUE or payout.hold is None:
        _refuse_status(escrow, command, command.payout, None, frozenset())


def request(case: Case, command: RequestPayout) -> Decision:
    """Somebody asks for the money. What still holds it is said, and nothing changes.

    The system only has it looked at again: under trigger ``manual`` that is no request. An operator may send what is
    below the minimum: a seller who leaves gets the last of it.
    """
    payout = _named(case.escrow, command.payout)
    case.change_payout(
        payout.id,
        requested=payout.requested or command.actor.role != "system",
        enough=payout.enough or command.actor.role == "operator",
    )
    before = payout.hold
    consider(case, _named(case.escrow, payout.id))
    now = _named(case.escrow, payout.id)
    if now.hold is not None and now.hold == before:
        raise RefusedError(ErrorCode.PAYOUT_HELD, f"the payout is held: {now.reason}", hold=now.hold, reason=now.reason)
    return case.decision(case.escrow.state)


def look_again(case: Case, identifier: str) -> Decision:
    """A clearance period is over, or a day has passed: perhaps the payout may go now."""
    consider(case, _named(case.escrow, identifier))
    return case.decision(case.escrow.state)


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
        f"{command.name} is not possible: the payout is {payout.status} in generation {payout.generation}"
        + (f" and held ({payout.hold})" if payout.hold else ""),
        state=str(escrow.state),
        event=command.name,
        allowed=["retry_payout"] if payout.status in {PayoutStatus.FAILED, PayoutStatus.RETURNED} else [],
        payout_status=str(payout.status),
        generation=payout.generation,
    )
