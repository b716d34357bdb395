"""Taking back what was released: from the payable, then the wallet, then owed. Source: domain.md, section 5."""

from models import divisions, postings
from models.decision import Case, Decision, FeeRuleRef, Settlement, TakenBack
from models.divisions import Division
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow, Milestone, Release
from models.exchange import Translation, convert
from models.money import Money
from models.paying_out import consider
from models.postings import PLATFORM, AccountKind
from models.settling import refuse_frozen
from models.states import MilestoneStatus, PayoutStatus

_TAKEN_BACK = "taken back before it was sent"
# Nothing of these has left yet: what is taken from the payable is no longer theirs to send.
_UNSENT = frozenset({PayoutStatus.DUE, PayoutStatus.FAILED, PayoutStatus.RETURNED})


def check(escrow: Escrow, milestone: Milestone, units: int) -> None:
    """Reversals together never exceed what was released; of a milestone that went back whole there is no more."""
    reachable = _reachable(milestone, _release_of(escrow, milestone))
    if units > reachable:
        raise RefusedError(
            ErrorCode.REFUND_AMOUNT_MISMATCH,
            f"{escrow.money(units)} is more than the {escrow.money(reachable)} that was released of this milestone "
            "and not taken back yet",
            refundable=reachable,
        )


def claw_back(case: Case, milestone: Milestone, returned: Money, reason: str) -> Decision:
    """Return a part after release, by the original settlement's own rates.

    50000 of a release of 150000 at 10 %: the platform gives back 5000 and the seller 45000. The escrow's state stays.
    """
    refuse_frozen(case)
    escrow, release = case.escrow, _release_of(case.escrow, milestone)
    if release is None:
        raise AssertionError("unreachable: a milestone without a release has nothing to reach")
    fee_back, added_back, payout_back = shares(release, returned)
    whole = returned + added_back
    taken = take(case, "clawback", release, fee_back + added_back, payout_back, (AccountKind.WALLET, escrow.buyer))
    division = Division(whole, whole - whole, whole - whole, whole)
    case.settlement = Settlement(
        id=case.id("set"),
        outcome="reversal",
        milestones=(milestone.id,),
        dispute=None,
        division=division,
        rule=FeeRuleRef(release.policy_version, release.rule, release.fee_rate),
        steps=_steps(release, returned, fee_back, added_back, payout_back),
        rate=release.rate,
        translation=_translated(release, whole),
        taken_back=taken,
    )
    case.change(released=case.escrow.released - whole.amount, refunded=case.escrow.refunded + whole.amount)
    record(case, release, returned)
    clawed = milestone.clawed + returned.amount
    gone = clawed == milestone.remaining
    case.change_milestone(milestone.id, clawed=clawed, **({"status": MilestoneStatus.REFUNDED} if gone else {}))
    case.emit("milestone.clawed_back", milestone=milestone.id, amount=whole.amount, reason=reason)
    case.emit("settlement.posted", settlement=case.settlement.id, outcome="reversal", total=whole.amount)
    return case.decision(case.escrow.state)


def shares(release: Release, returned: Money) -> tuple[Money, Money, Money]:
    """What gives back a part: the fee the seller bore, the fee the buyer added, the seller. Cumulative, so that n parts
    equal the whole.
    """
    currency = returned.currency
    principal, before = Money(release.principal, currency), Money(release.clawed, currency)
    own = divisions.clawback(principal, Money(release.fee - release.buyer_fee, currency), before, returned)
    added = divisions.clawback(principal, Money(release.buyer_fee, currency), before, returned)
    return own.fee_returned, added.fee_returned, own.payout_reduced


def take(
    case: Case, memo: str, release: Release, fee: Money, payout: Money, target: tuple[AccountKind, str]
) -> TakenBack:
    """Post a clawback: the platform's part from its revenue, the seller's from payable, wallet, receivable in turn."""
    seller, facts = case.escrow.seller, case.funds.seller
    payable = min(payout.amount, max(facts.payable, 0))
    wallet = min(payout.amount - payable, max(facts.wallet, 0))
    owed = payout.amount - payable - wallet
    sources = [
        (AccountKind.FEE_REVENUE, PLATFORM, fee),
        (AccountKind.PAYABLE, seller, case.escrow.money(payable)),
        (AccountKind.WALLET, seller, case.escrow.money(wallet)),
        (AccountKind.RECEIVABLE, seller, case.escrow.money(owed)),
    ]
    case.post(postings.take_back(memo, sources, target))
    if owed:
        case.emit("receivable.recorded", party=seller, amount=owed, reason=memo)
    _shrink_payouts(case, release, payable)
    return TakenBack(release.id, fee.amount, payable, wallet, owed)


def record(case: Case, release: Release, returned: Money) -> None:
    """Remember how much of a release went back."""
    case.change(
        releases=tuple(
            one.model_copy(update={"clawed": one.clawed + returned.amount}) if one.id == release.id else one
            for one in case.escrow.releases
        )
    )


def _shrink_payouts(case: Case, release: Release, units: int) -> None:
    """The release's own payout, if it has not left, is smaller by what was taken; what is nothing now is cancelled."""
    for payout in case.escrow.payouts:
        if payout.settlement != release.id or payout.status not in _UNSENT or not units:
            continue
        cut = min(units, payout.amount)
        if cut < payout.amount:
            case.change_payout(payout.id, amount=payout.amount - cut)
            if payout.hold:
                consider(case, payout.model_copy(update={"amount": payout.amount - cut}))
            continue
        case.drop_deadlines(payout=payout.id)
        case.change_payout(payout.id, status=PayoutStatus.CANCELLED, hold=None, reason=_TAKEN_BACK)
        case.emit("payout.cancelled", payout=payout.id, amount=payout.amount, reason=_TAKEN_BACK)


def _translated(release: Release, whole: Money) -> Translation:
    """The reporting amount at the original's exchange rate, cumulative as well: n parts sum to what the whole makes."""
    before = Money(0, whole.currency)
    if release.clawed:
        unclawed, earlier = release.model_copy(update={"clawed": 0}), Money(release.clawed, whole.currency)
        before = earlier + shares(unclawed, earlier)[1]
    total = convert(before + whole, release.rate) - convert(before, release.rate)
    return Translation(total, total - total, total - total, total)


def _release_of(escrow: Escrow, milestone: Milestone) -> Release | None:
    return next((one for one in escrow.releases if milestone.id in one.milestones), None)


def _reachable(milestone: Milestone, release: Release | None) -> int:
    return min(milestone.remaining - milestone.clawed, release.reachable) if release else 0


def _steps(release: Release, returned: Money, fee: Money, added: Money, payout: Money) -> tuple[str, ...]:
    after = release.clawed + returned.amount
    steps = (
        f"the release of {release.principal} in settlement {release.id} took a fee of {release.fee}",
        f"{after} of it have gone back now, {release.clawed} before",
        f"the fee gives back {fee.amount}, the seller {payout.amount}",
    )
    return (*steps, f"and {added.amount} of the fee that the buyer had added") if added.amount else steps
