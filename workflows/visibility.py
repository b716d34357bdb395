"""What operators see in the Temporal UI without decoding anything: search attributes, summaries, details.

Opaque ids only: search attributes are stored in clear, and kept long.
"""

import re
from typing import Any, Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from models.commands import Create
from models.escrow import Deadline, Escrow, Payout
from models.money import Money
from models.states import DisputeStatus, MilestoneStatus, State

TENANT: Final = SearchAttributeKey.for_keyword("HoldfastTenant")
STATE: Final = SearchAttributeKey.for_keyword("HoldfastState")
BUYER: Final = SearchAttributeKey.for_keyword("HoldfastBuyer")
SELLER: Final = SearchAttributeKey.for_keyword("HoldfastSeller")
CURRENCY: Final = SearchAttributeKey.for_keyword("HoldfastCurrency")
NEXT_DEADLINE: Final = SearchAttributeKey.for_datetime("HoldfastNextDeadline")
NEEDS_ATTENTION: Final = SearchAttributeKey.for_bool("HoldfastNeedsAttention")

# What the embedded stack registers when it boots; on a cluster of one's own an operator does (docs/architecture.md).
SEARCH_ATTRIBUTES: Final[dict[str, str]] = {
    TENANT.name: "Keyword",
    STATE.name: "Keyword",
    BUYER.name: "Keyword",
    SELLER.name: "Keyword",
    CURRENCY.name: "Keyword",
    NEXT_DEADLINE.name: "Datetime",
    NEEDS_ATTENTION.name: "Bool",
}

_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()<>#|!&])")

_WAITS_FOR: Final = {
    State.CREATED: "the buyer to fund it",
    State.FUNDED: "the seller to start work",
    State.IN_PROGRESS: "the seller to submit a milestone",
    State.MILESTONE_APPROVED: "the seller to submit the next milestone, or the buyer to complete",
}


def at_start(agreed: Create | Escrow) -> TypedSearchAttributes:
    """The attributes an escrow's workflow starts with, also when it starts anew; given then they cost no event."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(TENANT, agreed.tenant),
            SearchAttributePair(STATE, (State.CREATED if isinstance(agreed, Create) else agreed.state).value),
            SearchAttributePair(BUYER, agreed.buyer),
            SearchAttributePair(SELLER, agreed.seller),
            SearchAttributePair(CURRENCY, agreed.currency),
            SearchAttributePair(NEEDS_ATTENTION, value=False),
        ]
    )


def changed_attributes(known: TypedSearchAttributes, escrow: Escrow) -> list[SearchAttributeUpdate[Any]]:
    """What has to be upserted for an escrow; empty when nothing an operator searches by has changed."""
    deadline = escrow.next_deadline
    wanted: list[tuple[SearchAttributeKey[Any], Any]] = [
        (TENANT, escrow.tenant),
        (STATE, escrow.state.value),
        (BUYER, escrow.buyer),
        (SELLER, escrow.seller),
        (CURRENCY, escrow.currency),
        (NEXT_DEADLINE, deadline and deadline.due_at),
        (NEEDS_ATTENTION, escrow.attention is not None),
    ]
    return [
        key.value_unset() if value is None else key.value_set(value) for key, value in wanted if known.get(key) != value
    ]


def summary(agreed: Create | Escrow) -> str:
    """One line beside the workflow's id, fixed at its start."""
    return f"{Money(agreed.amount, agreed.currency)} from {agreed.buyer} to {agreed.seller}"


def details(agreed: Create | Escrow) -> str:
    """The agreement, as Markdown, fixed at the workflow's start."""
    amount = Money(agreed.amount, agreed.currency)
    rows = [f"| {_escaped(one.title)} | {Money(one.amount, agreed.currency)} |" for one in agreed.milestones]
    table = ["", "| milestone | amount |", "|---|---|", *rows] if rows else []
    return "\n".join([f"**{amount}** from `{agreed.buyer}` to `{agreed.seller}`, category `{agreed.category}`", *table])


def current_details(escrow: Escrow) -> str:
    """How the escrow stands now, as Markdown: state, money, whom it waits for and until when."""
    money = {"held": escrow.held, "disputed": escrow.disputed, "released": escrow.released, "refunded": escrow.refunded}
    lines = [
        f"### {escrow.state}: waits for {waits_for(escrow)}",
        "",
        f"- version {escrow.version}, " + ", ".join(f"{name} {escrow.money(amount)}" for name, amount in money.items()),
        *(f"- milestone {m.position}: {m.status}, {escrow.money(m.remaining)}" for m in escrow.milestones),
        *(f"- payout of {escrow.money(p.amount)}: {p.status}{_held(p)}" for p in escrow.payouts),
    ]
    if escrow.attention:
        lines.append(f"- **needs attention**: {_escaped(escrow.attention)}")
    return "\n".join(lines)


def _held(payout: Payout) -> str:
    return f", held: {_escaped(payout.reason or payout.hold)}" if payout.hold else ""


def _escaped(text: str) -> str:
    """Somebody else's words as Markdown that shows them and does nothing else: no link, no image, no HTML."""
    return _MARKDOWN.sub(r"\\\1", text).replace("\n", " ")


def waits_for(escrow: Escrow) -> str:
    """Who has to act next, and by when if there is a deadline."""
    if chargeback := escrow.open_chargeback:
        return f"the payer's bank to decide on {chargeback.kind} {_escaped(chargeback.reference)}"
    if escrow.terminal:
        if held := next((one for one in escrow.payouts if one.hold), None):
            return f"a payout that is held: {_escaped(held.reason or held.hold or '')}"
        return "its payouts to arrive" if not escrow.finished else "nothing, it is over"
    dispute = escrow.open_dispute
    if dispute:
        step = "review" if dispute.status == DisputeStatus.OPEN else "resolve"
        return f"an operator to {step} dispute {dispute.id}"
    if escrow.state == State.MILESTONE_PENDING:
        number = next(one.position for one in escrow.milestones if one.status == MilestoneStatus.SUBMITTED)
        due = [one.due_at for one in escrow.deadlines if one.kind == "auto_approve"]
        until = f", until {min(due):%Y-%m-%d %H:%M} UTC" if due else ""
        return f"the buyer to review milestone {number}{until}"
    if escrow.state in {State.IN_PROGRESS, State.MILESTONE_APPROVED} and not _can_submit(escrow):
        return "the buyer to complete, or the seller to cancel: no milestone is left"
    return _WAITS_FOR[escrow.state]


def _can_submit(escrow: Escrow) -> bool:
    return any(one.status in {MilestoneStatus.PENDING, MilestoneStatus.REJECTED} for one in escrow.milestones)


def timer_summary(escrow: Escrow, deadline: Deadline) -> str:
    """What will happen when the timer fires."""
    milestone = escrow.milestone(deadline.milestone or "")
    about = f"milestone {milestone.position}" if milestone else deadline.dispute or deadline.payout
    return f"{deadline.kind} {about} at {deadline.due_at:%Y-%m-%d %H:%M} UTC"


def payout_summary(escrow: Escrow, payout: Payout) -> str:
    """One line for a payout's workflow."""
    return f"{escrow.money(payout.amount)} to {payout.party}"
