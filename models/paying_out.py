"""When released money may go: terms, netting, holds that explain themselves. Source: domain.md, sections 5 and 9."""

from datetime import UTC, datetime, timedelta
from typing import Final

from models import postings
from models.compliance import objection_to_payout
from models.decision import Case, Settlement
from models.escrow import Deadline, Hold, Payout
from models.states import PayoutStatus

# How often a payout that waits for a party (its papers, its next earnings) is looked at again.
LOOK_AGAIN: Final = timedelta(days=1)
# These holds end when somebody asks, or when the bank has decided; no time ends them.
_ENDED_BY_SOMEBODY: Final = frozenset({"manual", "chargeback"})
_LONGEST_BACK_OFF: Final = timedelta(days=1)


def make_due(case: Case, settlement: Settlement) -> None:
    """Owe the seller its part, less what the seller owes: of 63000 with a receivable of 20000, 43000 is due."""
    earned = settlement.division.seller_payout
    if not earned.amount:
        return
    netted = net_receivable(case, earned.amount)
    if netted == earned.amount:
        return
    payout = Payout(
        id=case.id("pay"),
        settlement=settlement.id,
        milestones=settlement.milestones,
        party=case.escrow.seller,
        destination=None,  # the party's own of the moment when it is sent
        amount=earned.amount - netted,
        ready_at=_ready_at(case, settlement.milestones),
        netted=netted,
    )
    case.change(payouts=(*case.escrow.payouts, payout))
    consider(case, payout)


def net_receivable(case: Case, units: int) -> int:
    """Take what the seller owes out of what the seller is owed; answers how much. Both in minor units."""
    party = case.escrow.seller
    netted = min(units, case.funds.seller.receivable)
    if netted > 0:
        case.post(postings.net(party, case.escrow.money(netted)))
        case.emit("receivable.netted", party=party, amount=netted)
    return max(netted, 0)


def consider(case: Case, payout: Payout) -> None:
    """Let a payout go, or hold it and say why and until when. Together with it go those that the minimum held."""
    case.drop_deadlines(payout=payout.id)
    held = hold_of(case, payout)
    if held is None:
        case.change_payout(payout.id, hold=None, reason=None)
        case.emit("payout.due", payout=payout.id, amount=payout.amount)
        _take_along(case)
        return
    hold, reason = held
    case.change_payout(payout.id, hold=hold, reason=reason)
    if payout.hold != hold:
        case.emit("payout.held", payout=payout.id, amount=payout.amount, hold=hold, reason=reason)
    if hold not in _ENDED_BY_SOMEBODY:
        at = payout.ready_at if hold == "clearance" and payout.ready_at else _tomorrow(case)
        case.schedule([deadline(case, payout, "pay_out", at)])


def _tomorrow(case: Case) -> datetime:
    """A day from when somebody asked, not from when it was due: after an outage that is once, not once a day."""
    return max(case.now, case.funds.asked_at or case.now) + LOOK_AGAIN


def hold_of(case: Case, payout: Payout) -> tuple[Hold, str] | None:
    """Why a payout may not be sent now; None when it may."""
    terms, escrow = case.escrow.release.payout, case.escrow
    if barred := hold_of_party(case, payout):
        return barred
    if terms.trigger == "manual" and not payout.requested:
        return "manual", "waits until somebody asks for it"
    if payout.ready_at and case.now < payout.ready_at:
        return "clearance", f"clears on {payout.ready_at:%Y-%m-%d %H:%M} UTC"
    owed = payout.amount + _carried(case, payout)
    if terms.minimum > owed and not payout.enough:
        short = f"{escrow.money(owed)} of at least {escrow.money(terms.minimum)}"
        return "minimum", f"carried forward: {short} is owed to the seller"
    return None


def hold_of_party(case: Case, payout: Payout) -> tuple[Hold, str] | None:
    """Why the party may not be paid at all now, whatever the terms."""
    escrow = case.escrow
    if chargeback := escrow.open_chargeback:
        return "chargeback", f"the payer's bank decides on {chargeback.kind} {chargeback.reference} first"
    objection = objection_to_payout(
        case.policies.compliance, escrow.money(payout.amount), escrow.seller, case.funds.seller
    )
    return (objection.code, objection.reason) if objection else None


def deadline(case: Case, payout: Payout, kind: str, at: datetime) -> Deadline:
    """A moment at which a payout is looked at or tried again."""
    return Deadline(
        id=case.id("dln", payout.id, kind, str(payout.generation)),
        kind="pay_out" if kind == "pay_out" else "retry_payout",
        payout=payout.id,
        generation=payout.generation,
        due_at=at,
    )


def retry_deadlines(case: Case, payout: Payout) -> list[Deadline]:
    """When a declined payout is tried again by itself: after an hour, then two, four and so on, at most a day."""
    terms = case.escrow.release.payout
    if payout.generation > terms.retries:
        return []
    wait = min(terms.retry_after * 2 ** (payout.generation - 1), max(_LONGEST_BACK_OFF, terms.retry_after))
    return [deadline(case, payout, "retry_payout", case.now + wait)]


def _ready_at(case: Case, milestones: tuple[str, ...]) -> datetime | None:
    """When trigger ``time`` lets it go: after the clearance period, or at the due date of what was released."""
    terms = case.escrow.release.payout
    if terms.trigger != "time":
        return None
    if terms.clearance is not None:
        return case.now + terms.clearance
    days = [one.due for one in case.escrow.milestones if one.id in milestones and one.due]
    if not days:
        return None
    last = max(days)
    return datetime(last.year, last.month, last.day, tzinfo=UTC)


def _carried(case: Case, payout: Payout) -> int:
    """What else is carried forward to the same seller: in this escrow and in others, in minor units."""
    here = (one.amount for one in case.escrow.payouts if one.id != payout.id and _waits(one) and not one.enough)
    return sum(here) + sum(one.amount for one in case.funds.seller.carried)


def _take_along(case: Case) -> None:
    """The minimum is reached, so all that was carried forward goes: here at once, elsewhere by their own escrows."""
    if not case.escrow.release.payout.minimum:
        return
    for one in case.escrow.payouts:
        if _waits(one):
            case.drop_deadlines(payout=one.id)
            case.change_payout(one.id, hold=None, reason=None, enough=True)
            case.emit("payout.due", payout=one.id, amount=one.amount)
    case.carried_along += case.funds.seller.carried
    case.funds = case.funds.none_carried()


def _waits(payout: Payout) -> bool:
    return payout.status == PayoutStatus.DUE and payout.hold == "minimum"
