"""What a difference with the provider is, and what to do about it, in words. Pure. Source: docs/reconciliation.md.

Amounts are signed minor units as the account ``gateway_cash`` counts them: what arrived is above zero.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from models.currencies import EXPONENTS
from models.money import Money
from models.reconciliation import Cause, Compared, MovementKind

GRACE: Final = timedelta(minutes=15)
"""How long one side may have something before the other, until it is more than late."""

_BY_ITSELF: Final = "The provider is asked what became of it, and what is certain is booked by itself, within a day."
_CORRECT: Final = "Find out why; then propose a correction."
_TO_SUSPENSE: Final = (
    "Find out why; then propose a correction. What came back stays in suspense till it is settled with the seller, "
    "outside of Holdfast: no command pays it out."
)
_WHICH: Final = "Find out which amount is right, with {provider}'s dashboard; then propose a correction."
_UNKNOWN_CURRENCY: Final = "Ask what it is: the books cannot hold this currency, so nothing can be corrected."


@dataclass(frozen=True)
class Facts:
    """Both sides of one subject in one currency, which do not agree or of which one is not known.

    ``explained`` is what an open chargeback explains of it; ``in_flight`` the status of a charge or payout whose
    outcome our books wait for, since ``asked_at``; ``known`` the status that the books have of it, whatever it is;
    ``elsewhere``: the other side has the same subject in another currency; ``looked`` is what came of looking into it.
    A payout that ``went_to`` another account says for which it was ``meant_for``; ``generation`` is at which attempt
    the books are, to which ``known`` belongs.
    """

    kind: MovementKind
    subject: str
    currency: str
    theirs: int | None = None
    their_times: int = 0
    their_first: datetime | None = None
    their_last: datetime | None = None
    type: str | None = None
    source: str | None = None
    ours: int | None = None
    our_times: int = 0
    our_first: datetime | None = None
    our_last: datetime | None = None
    corrected: int = 0
    explained: int = 0
    in_flight: str | None = None
    asked_at: datetime | None = None
    known: str | None = None
    elsewhere: bool = False
    tenant: str | None = None
    escrow: str | None = None
    looked: str | None = None
    meant_for: str | None = None
    went_to: str | None = None
    generation: int | None = None

    @property
    def expected(self) -> int | None:
        """What our books say, with what an open chargeback is going to take."""
        return self.ours if not self.explained else (self.ours or 0) + self.explained

    @property
    def given_up(self) -> bool:
        """Whether it is a payout that the books have as failed, now or before a later attempt, so that the provider was
        not to send it."""
        if self.kind != "payout" or self.ours is not None or self.generation is None:
            return False
        return self.superseded or self.known == "failed"

    @property
    def superseded(self) -> bool:
        """Whether the books are at a later attempt at the same payout."""
        attempt = self.subject.rpartition(":")[2]
        return self.generation is not None and attempt.isdigit() and int(attempt) < self.generation


@dataclass(frozen=True)
class Found:
    """A difference as it is written down: the columns of ``models.reconciliation.Difference``."""

    compared: Compared
    cause: Cause
    subject: str
    since: datetime
    says: str
    remedy: str
    kind: MovementKind | None = None
    tenant: str | None = None
    escrow: str | None = None
    ours: int | None = None
    theirs: int | None = None
    currency: str | None = None


def judged(facts: Facts, provider: str, read_up_to: datetime, grace: timedelta = GRACE) -> Found:
    """Name the cause of what does not agree, and say what to do about it."""
    cause = _cause(facts, read_up_to - grace)
    says, remedy = _words(facts, cause, provider, grace)
    moments = (facts.their_first, facts.our_first, facts.asked_at)
    return Found(
        compared="provider",
        cause=cause,
        kind=facts.kind,
        subject=facts.subject,
        since=min(moment for moment in moments if moment is not None),
        says=says,
        remedy=remedy,
        tenant=facts.tenant,
        escrow=facts.escrow,
        ours=facts.expected,
        theirs=facts.theirs,
        currency=facts.currency,
    )


def readable(amount: int, currency: str) -> str:
    """An amount for people, of whatever currency a provider tells."""
    return str(Money(amount, currency)) if currency in EXPONENTS else f"{amount} units of {currency}"


def _cause(facts: Facts, late_after: datetime) -> Cause:
    if facts.went_to:  # waiting does not make it better
        return "misdirected"
    newest = _newest(facts)
    if newest is not None and newest > late_after:
        return "late"
    if facts.in_flight and facts.ours is None:
        return "unknown_outcome"
    if facts.elsewhere:
        return "amount_differs"
    ours, theirs = facts.expected, facts.theirs
    if theirs is None:
        return "missing_there"
    if ours is None:
        return "duplicate" if facts.given_up and facts.superseded else "missing_here"
    more_often = facts.our_times > 0 and facts.their_times != facts.our_times
    if more_often and theirs * facts.our_times == ours * facts.their_times:
        return "duplicate"
    return "amount_differs"


def _newest(facts: Facts) -> datetime | None:
    return max((moment for moment in (facts.their_last, facts.our_last) if moment is not None), default=None)


def _words(facts: Facts, cause: Cause, provider: str, grace: timedelta) -> tuple[str, str]:
    match cause:
        case "late":
            says = f"{_what(facts)}: {_both(facts, provider)}, and one of it was only just written"
            minutes, newest = grace // timedelta(minutes=1), _newest(facts)
            after = f" after {(newest + grace).astimezone(UTC) + timedelta(minutes=1):%H:%M} UTC" if newest else ""
            return says, f"Nothing yet: either side wrote it less than {minutes} minutes ago. Reconcile again{after}."
        case "misdirected":
            says = (
                f"{_what(facts)} went to {facts.went_to}, and was meant for {facts.meant_for}: {_both(facts, provider)}"
            )
            return says, (
                f"Find out at once who sent it there, and have {provider} reverse it: what comes back is booked by "
                "itself, and the payout can be sent again. Nothing is to be corrected: the amounts are right."
            )
        case "unknown_outcome":
            return _unknown(facts, provider)
        case "missing_here" | "duplicate" if facts.given_up:
            return _given_up(facts, provider)
        case "missing_here":
            return _missing_here(facts, provider)
        case "missing_there":
            says = f"the books have {_money(facts, facts.expected)} for {_what(facts)}, {provider} has nothing"
            return says, f"Look it up with {provider}. If it never happened there: {_CORRECT.lower()}"
        case "duplicate":
            times = f"{provider} has it {_times(facts.their_times)}, the books {_times(facts.our_times)}"
            twice = f"See in {provider}'s dashboard why it is there {_times(facts.their_times)}"
            return f"{_what(facts)}: {times}; {_both(facts, provider)}", f"{twice}; then propose a correction."
        case _:
            which = _TO_SUSPENSE if facts.kind == "payout_return" else _WHICH.format(provider=provider)
            return f"{_what(facts)}: {_both(facts, provider)}{_looked(facts)}", which


def _unknown(facts: Facts, provider: str) -> tuple[str, str]:
    asked = f"{_what(facts)} is {facts.in_flight} in the books"
    if facts.theirs is None:
        says = f"{asked}, and {provider} has nothing under its key"
        return says, "Its workflow goes on asking; without one it is started again. Nothing is booked on a guess."
    return f"{asked}, and {provider} has moved {_money(facts, facts.theirs)}{_looked(facts)}", _BY_ITSELF


def _given_up(facts: Facts, provider: str) -> tuple[str, str]:
    says = f"{provider} sent {_what(facts)} with {_money(facts, facts.theirs)}, although our books have it as failed"
    if facts.superseded:
        says += f"; attempt {facts.generation} of the same payout is {facts.known}: the seller may have it twice"
    remedy = (
        f"Ask for it back: have {provider} reverse it. What it moved, there and back, then wants a correction each."
    )
    return says, remedy if facts.superseded else f"Do not send the payout again before that is settled. {remedy}"


def _missing_here(facts: Facts, provider: str) -> tuple[str, str]:
    often = "" if facts.their_times == 1 else f" {_times(facts.their_times)}, together"
    says = f"{provider} moved{often} {_money(facts, facts.theirs)} for {_what(facts)}, the books have nothing"
    if facts.known:
        attempt = f" attempt {facts.generation} of" if facts.superseded else ""
        says += f"; they have{attempt} it as {facts.known}"
    if facts.currency not in EXPONENTS:
        return says, _UNKNOWN_CURRENCY
    if facts.looked:
        return says + _looked(facts), _TO_SUSPENSE if facts.kind == "payout_return" else _CORRECT
    if facts.kind == "other":
        return says, f"Find out with {provider} what it is; then propose a correction."
    return says, _BY_ITSELF if facts.known or facts.tenant else _strange(facts, provider)


def _strange(facts: Facts, provider: str) -> str:
    """What to do about what names nothing of ours."""
    dashboard, one = f"{provider}'s dashboard", facts.source or facts.subject
    if facts.kind == "payout":
        return (
            f"Nobody here asked for {one}: see in {dashboard} who made it, and treat it as theft until you know. Then "
            "propose a correction."
        )
    if facts.kind == "charge":
        return f"Nobody here asked for {one}: see in {dashboard} who paid, and for what; then propose a correction."
    return f"Nothing here is known of {one}: see in {dashboard} what it is; then propose a correction."


def _what(facts: Facts) -> str:
    named = {
        "charge": f"charge {facts.subject}",
        "payout": f"payout {facts.subject}",
        "payout_return": f"the return of payout {facts.subject}",
        "contested": f"contested payment {facts.subject}",
        "other": f"{facts.type or 'entries'} {facts.subject}",
    }[facts.kind]
    return f"{named} ({facts.source})" if facts.source and facts.source != facts.subject else named


def _both(facts: Facts, provider: str) -> str:
    corrected = f", {_money(facts, facts.corrected)} of it by correction" if facts.corrected else ""
    return f"{provider} has {_money(facts, facts.theirs)}, the books {_money(facts, facts.expected)}{corrected}"


def _looked(facts: Facts) -> str:
    return f". Looked into: {facts.looked}" if facts.looked else ""


def _times(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times} times")


def _money(facts: Facts, amount: int | None) -> str:
    return "nothing" if amount is None else readable(amount, facts.currency)
