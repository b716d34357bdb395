"""Payments that the payer's bank contests or takes back. Source: edge_cases.md, 16 to 18; domain.md, section 5."""

from models import postings
from models.commands import CloseChargeback, OpenChargeback
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import RELEASED_MILESTONE, Chargeback, Escrow, Milestone, Release
from models.money import Money
from models.paying_out import consider
from models.postings import PLATFORM, AccountKind
from models.rules import clawbacks, disputes
from models.rules.admission import open_milestones, refuse_transition
from models.rules.disputes import restart_clock
from models.rules.milestones import review_deadlines
from models.rules.payouts import GATEWAY
from models.states import TERMINAL, ChargebackStatus, DisputeStatus, MilestoneStatus, PayoutStatus, State


def check_open(escrow: Escrow, command: OpenChargeback) -> None:
    """One at a time, over money that was paid in and has not gone back to the bank already."""
    if escrow.open_chargeback or any(one.reference == command.reference for one in escrow.chargebacks):
        raise RefusedError(
            ErrorCode.CHARGEBACK_OPEN,
            "a chargeback of this escrow is open, or this reference was recorded before",
            chargebacks=[one.reference for one in escrow.chargebacks],
        )
    most = escrow.funded - escrow.charged_back
    if not most:
        refuse_transition(escrow, command.name)
    if command.amount > most:
        raise RefusedError(
            ErrorCode.REFUND_AMOUNT_MISMATCH,
            f"{escrow.money(command.amount)} cannot be charged back: {escrow.money(most)} was paid in",
            refundable=most,
        )


def open_chargeback(case: Case, command: OpenChargeback) -> Decision:
    """What is still held or in dispute goes to chargeback_hold, and every clock stops until the bank has decided.

    A charge that failed late never brought its money: of it, what was released already is taken back at once.
    """
    escrow = case.escrow
    principal = min(command.amount, escrow.principal)
    surcharge = min(command.amount - principal, escrow.surcharge)
    disputed = min(command.amount - principal - surcharge, escrow.disputed)
    frozen = principal + surcharge + disputed
    chargeback = Chargeback(
        id=case.id("cbk"),
        kind=command.kind,
        reference=command.reference,
        reason=command.reason,
        amount=command.amount,
        frozen=frozen,
        surcharge=surcharge,
        disputed=disputed,
    )
    if frozen:
        case.post(postings.contest(escrow.id, escrow.money(frozen - disputed), escrow.money(disputed)))
    case.change(
        chargebacks=(*escrow.chargebacks, chargeback),
        held=escrow.held - principal - surcharge,
        surcharge=escrow.surcharge - surcharge,
        disputed=escrow.disputed - disputed,
        contested=escrow.contested + frozen,
    )
    case.stop_clock({milestone.id for milestone in escrow.milestones})
    if dispute := escrow.open_dispute:
        case.drop_deadlines(dispute=dispute.id)
    case.emit(
        "chargeback.opened", chargeback=chargeback.id, kind=command.kind, amount=command.amount, frozen=frozen,
        reason=command.reason,
    )  # fmt: skip
    if command.kind == "failed_charge":
        _take_back(case, command.amount - frozen)
    _look_at_payouts(case)
    return case.decision(escrow.state)


def _look_at_payouts(case: Case) -> None:
    """What was released and has not been sent waits for the bank as well, and for nothing else once it has decided."""
    for payout in case.escrow.payouts:
        if payout.status == PayoutStatus.DUE:
            consider(case, payout)


def check_close(escrow: Escrow, command: CloseChargeback) -> None:
    """Only the chargeback that is open can be closed."""
    chargeback = escrow.open_chargeback
    if chargeback is None or command.chargeback not in {None, chargeback.id}:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            "this escrow has no such chargeback that is open",
            chargebacks=[one.id for one in escrow.chargebacks],
        )
    if command.outcome == "won" and chargeback.kind == "failed_charge" and chargeback.amount > chargeback.frozen:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            "what had been released was taken back when the charge failed: close it as lost; what arrived after all is "
            "a top-up",
        )


def close_chargeback(case: Case, command: CloseChargeback) -> Decision:
    """Won: the money is held again and reviews begin anew. Lost: it is the bank's, and not refunded a second time."""
    chargeback = case.escrow.open_chargeback
    if chargeback is None:
        raise AssertionError("unreachable: the check has found it")
    status = ChargebackStatus(command.outcome)
    case.change(
        chargebacks=tuple(
            one.model_copy(update={"status": status}) if one.id == chargeback.id else one
            for one in case.escrow.chargebacks
        )
    )
    case.emit(f"chargeback.{status}", chargeback=chargeback.id, amount=chargeback.amount)
    return _won(case, chargeback) if status == ChargebackStatus.WON else _lost(case, chargeback)


def _won(case: Case, chargeback: Chargeback) -> Decision:
    escrow, disputed = case.escrow, chargeback.disputed
    held = chargeback.frozen - disputed
    if chargeback.frozen:
        case.post(postings.restore(escrow.id, escrow.money(held), escrow.money(disputed)))
    case.change(
        held=escrow.held + held,
        surcharge=escrow.surcharge + chargeback.surcharge,
        disputed=escrow.disputed + disputed,
        contested=escrow.contested - chargeback.frozen,
    )
    _restart_clocks(case)
    _look_at_payouts(case)
    return case.decision(escrow.state)


def _restart_clocks(case: Case) -> None:
    """Everybody gets the whole window again for what nobody could act on."""
    for milestone in case.escrow.milestones:
        if milestone.status == MilestoneStatus.SUBMITTED:
            case.schedule(review_deadlines(case, milestone.id, milestone.generation))
    if dispute := case.escrow.open_dispute:
        restart_clock(case, dispute.id)


def _lost(case: Case, chargeback: Chargeback) -> Decision:
    escrow = case.escrow
    if chargeback.frozen:
        case.post(postings.charge_back(GATEWAY, escrow.id, escrow.money(chargeback.frozen)))
    case.change(contested=escrow.contested - chargeback.frozen, charged_back=escrow.charged_back + chargeback.frozen)
    if chargeback.kind == "chargeback":
        _take_back(case, chargeback.amount - chargeback.frozen)
    if chargeback.disputed:
        _cut_dispute(case, chargeback.disputed)
    promised = open_milestones(case.escrow)
    _cut(case, promised, sum(one.remaining for one in promised) - case.escrow.principal)
    _restart_clocks(case)
    _look_at_payouts(case)
    return case.decision(_state_after(case))


def _take_back(case: Case, units: int) -> None:
    """The bank took more than was there: first from what was released, the latest first, as every clawback goes;
    then from what the buyer got back, out of the wallet or owed. A unit that no share can give is the platform's loss.
    """
    left = units
    for release in reversed(case.escrow.releases):
        returned = case.escrow.money(_principal_of(release, left, case.escrow.currency))
        if returned.amount:
            fee, added, payout = clawbacks.shares(release, returned)
            clawbacks.take(case, "charged back", release, fee + added, payout, (AccountKind.GATEWAY_CASH, GATEWAY))
            clawbacks.record(case, release, returned)
            left -= (returned + added).amount
    gone = units - left
    case.change(released=case.escrow.released - gone, charged_back=case.escrow.charged_back + gone)
    if left:
        _take_from_buyer(case, left)


def _principal_of(release: Release, units: int, currency: str) -> int:
    """How much of a release's principal makes up so many units, with the fee that the buyer had added for it."""
    with_fee = release.principal + release.buyer_fee

    def whole(principal: int) -> int:
        return principal + clawbacks.shares(release, Money(principal, currency))[1].amount

    most = min(release.reachable, units * release.principal // with_fee)
    while most and whole(most) > units:
        most -= 1
    while most < release.reachable and whole(most + 1) <= units:
        most += 1
    return most


def _take_from_buyer(case: Case, units: int) -> None:
    escrow = case.escrow
    refunded = min(units, escrow.refunded)
    wallet, lost = min(refunded, max(case.funds.buyer.wallet, 0)), units - refunded
    sources = [
        (AccountKind.WALLET, escrow.buyer, escrow.money(wallet)),
        (AccountKind.RECEIVABLE, escrow.buyer, escrow.money(refunded - wallet)),
        (AccountKind.PLATFORM_LOSS, PLATFORM, escrow.money(lost)),
    ]
    case.post(postings.take_back("charged back", sources, (AccountKind.GATEWAY_CASH, GATEWAY)))
    case.change(
        refunded=escrow.refunded - refunded,
        released=escrow.released - lost,
        charged_back=escrow.charged_back + units,
    )
    if refunded > wallet:
        case.emit("receivable.recorded", party=escrow.buyer, amount=refunded - wallet, reason="charged back")


def _cut_dispute(case: Case, units: int) -> None:
    """The bank took what was in dispute: less is argued about, and with nothing left the dispute is over."""
    dispute = case.escrow.open_dispute
    if dispute is None:
        raise AssertionError("unreachable: disputed money belongs to an open dispute")
    amount = max(dispute.amount - units, 0)
    added = dispute.surcharge - (units - (dispute.amount - amount))
    case.drop_deadlines(dispute=dispute.id)
    covered = tuple(one for one in case.escrow.milestones if one.id in dispute.milestones)
    _cut(case, covered, sum(one.remaining for one in covered) - amount)
    if amount:
        disputes.change(case, dispute.id, amount=amount, surcharge=added)
        return
    disputes.change(
        case, dispute.id, amount=0, surcharge=0, status=DisputeStatus.RESOLVED, resolution="charged_back",
        details="The payer's bank took the money.", resolved_by=str(case.command.actor),
    )  # fmt: skip
    case.emit("dispute.resolved", dispute=dispute.id, resolution="charged_back")
    if added:
        escrow = case.escrow
        case.post(postings.unfreeze(escrow.id, escrow.money(added)))
        case.change(held=escrow.held + added, surcharge=escrow.surcharge + added, disputed=escrow.disputed - added)


def _cut(case: Case, milestones: tuple[Milestone, ...], missing: int) -> None:
    """Milestones promise no more than what is left: what no milestone claims goes first, then the last of them."""
    for milestone in reversed(milestones):
        cut = min(missing, milestone.remaining)
        if cut <= 0:
            return
        missing -= cut
        case.change_milestone(milestone.id, reversed=milestone.reversed + cut)
        if cut == milestone.remaining:
            case.end_milestones((milestone,), MilestoneStatus.CANCELLED)


def _state_after(case: Case) -> State:
    escrow = case.escrow
    if escrow.state in TERMINAL:
        return escrow.state
    if escrow.open_dispute:
        return State.DISPUTED
    if escrow.principal == 0 and escrow.surcharge:
        _return_surcharge(case)
    if escrow.principal:
        submitted = any(one.status == MilestoneStatus.SUBMITTED for one in escrow.milestones)
        if submitted:
            return State.MILESTONE_PENDING
        left = {State.MILESTONE_PENDING, State.DISPUTED}
        return State.IN_PROGRESS if escrow.state in left else escrow.state
    released = any(one.status in RELEASED_MILESTONE for one in escrow.milestones)
    ended = State.COMPLETED if released else State.CANCELLED
    case.emit(f"escrow.{ended}")
    return ended


def _return_surcharge(case: Case) -> None:
    """Nothing is left to take a fee for: what the buyer added for it goes back, and no policy is asked about that."""
    escrow = case.escrow
    case.post(postings.return_surcharge(escrow.buyer, escrow.id, escrow.money(escrow.surcharge)))
    case.change(held=escrow.held - escrow.surcharge, refunded=escrow.refunded + escrow.surcharge, surcharge=0)
