"""Agreeing on an escrow, and changing the agreement before it is funded."""

from datetime import datetime

from models.commands import AddMilestone, Amend, ChangeMilestone, Create, MilestoneDraft, ReleaseOverride
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow, Milestone
from models.money import Money
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.rules.admission import PEOPLE, check_amend
from models.rules.milestones import named
from models.states import State
from models.templates import TEMPLATES, Template, from_template

BEFORE_CREATION = 0


def blank(command: Create, now: datetime, policy: ReleasePolicy, clock_offset: int) -> Escrow:
    """The escrow a ``create`` starts from: version 0, which no one ever sees."""
    return Escrow(
        id=command.escrow,
        tenant=command.tenant,
        buyer=command.buyer,
        seller=command.seller,
        amount=command.amount,
        currency=command.currency,
        category=command.category,
        title=command.title,
        state=State.CREATED,
        version=BEFORE_CREATION,
        release=policy,
        metadata=dict(command.metadata),
        clock_offset=clock_offset,
        created_at=now,
        updated_at=now,
    )


def create(case: Case, command: Create) -> Decision:
    """Check the agreement as a whole and write it down. No money moves."""
    if case.escrow.version != BEFORE_CREATION:
        raise RefusedError(ErrorCode.ALREADY_EXISTS, f"escrow {command.escrow} exists already")
    if command.buyer == command.seller:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "buyer and seller must be two different parties")
    drafts = _drafts(case, command)
    if command.release.payout and command.actor.role in PEOPLE:
        raise RefusedError(
            ErrorCode.FORBIDDEN,
            "the terms of payout are the platform's: a platform or an operator may set them for an escrow",
            actor=str(command.actor),
        )
    case.change(release=_override(case.policies.release, command.release))
    case.change(milestones=_milestones(case, command.amount, drafts))
    _wallet_gate(case, command.amount)
    return case.emit("escrow.created", amount=command.amount, currency=command.currency).decision(State.CREATED)


def amend(case: Case, command: Amend) -> Decision:
    """Change title, amount or milestones while nothing is funded yet."""
    if command.title is None and command.amount is None and command.milestones is None:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "nothing to amend: give a title, an amount or milestones")
    escrow = case.escrow
    amount = command.amount or escrow.amount
    if command.milestones is not None:
        case.change(milestones=_milestones(case, amount, command.milestones))
    else:
        _refuse_sum_above(escrow.money(amount), [milestone.amount for milestone in escrow.milestones])
    _wallet_gate(case, amount)
    case.change(title=command.title or escrow.title, amount=amount)
    return case.emit("escrow.amended", amount=amount).decision(State.CREATED)


def add_milestone(case: Case, command: AddMilestone) -> Decision:
    """Append a milestone to those agreed on: after 150000 and 200000 of 500000 there is room for one of 150000."""
    agreed = case.escrow.milestones
    _refuse_too_many(case, len(agreed) + 1)
    _refuse_sum_above(case.escrow.money(case.escrow.amount), [*(one.amount for one in agreed), command.amount])
    draft = MilestoneDraft(title=command.title, description=command.description, amount=command.amount, due=command.due)
    added = _milestone(case, draft, len(agreed) + 1)
    case.change(milestones=(*agreed, added))
    return case.emit("milestone.added", milestone=added.id, amount=added.amount).decision(State.CREATED)


def check_change(escrow: Escrow, command: ChangeMilestone) -> None:
    """Only a milestone of this escrow, only before funding, and only to something."""
    check_amend(escrow, command)
    named(escrow, command.milestone)
    if not _said(command):
        raise RefusedError(
            ErrorCode.INVALID_COMMAND, "nothing to change: give a title, a description, an amount or a due date"
        )


def change_milestone(case: Case, command: ChangeMilestone) -> Decision:
    """Change a milestone where it stands: of 150000, 200000 and 150000 in 500000 none can grow, all can shrink."""
    case.change_milestone(command.milestone, **_said(command))
    escrow = case.escrow
    _refuse_sum_above(escrow.money(escrow.amount), [one.amount for one in escrow.milestones])
    amount = named(escrow, command.milestone).amount
    return case.emit("milestone.changed", milestone=command.milestone, amount=amount).decision(State.CREATED)


def _said(command: ChangeMilestone) -> dict[str, object]:
    """What the command changes."""
    given = {name: getattr(command, name) for name in ("title", "description", "amount", "due")}
    return {name: value for name, value in given.items() if value is not None}


def _drafts(case: Case, command: Create) -> tuple[MilestoneDraft, ...]:
    if command.template is None:
        if command.event_date is not None:
            raise RefusedError(ErrorCode.INVALID_COMMAND, "event_date goes with a template: without one, leave it out")
        return command.milestones
    if command.milestones:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "give milestones or a template, not both")
    template = _template(case, command.template)
    if command.event_date is None:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "a template needs event_date, such as 2026-06-15")
    try:
        return from_template(template, Money(command.amount, command.currency), command.event_date)
    except (ValueError, OverflowError) as error:  # a part of nothing, a date beyond the calendar
        raise RefusedError(
            ErrorCode.INVALID_COMMAND, f"template {command.template!r} does not fit the amount and event_date"
        ) from error


def _template(case: Case, name: str) -> Template:
    """A built-in template, or one of the tenant's own."""
    own = case.policies.template
    if own and own.name == name:
        return own
    if name in TEMPLATES:
        return TEMPLATES[name]
    known = ", ".join(sorted(TEMPLATES))
    raise RefusedError(
        ErrorCode.INVALID_COMMAND, f"unknown template {name!r}: there are {known}, and those you have written yourself"
    )


def _milestones(case: Case, amount: int, drafts: tuple[MilestoneDraft, ...]) -> tuple[Milestone, ...]:
    _refuse_too_many(case, len(drafts))
    _refuse_sum_above(case.escrow.money(amount), [draft.amount for draft in drafts])
    return tuple(_milestone(case, draft, position) for position, draft in enumerate(drafts, start=1))


def _milestone(case: Case, draft: MilestoneDraft, position: int) -> Milestone:
    return Milestone(
        id=case.id("mil", str(position)),
        position=position,
        title=draft.title,
        description=draft.description,
        amount=draft.amount,
        due=draft.due,
    )


def _refuse_too_many(case: Case, given: int) -> None:
    limit = case.escrow.release.max_milestones
    if given > limit:
        raise RefusedError(
            ErrorCode.MILESTONE_LIMIT, f"Maximum {limit} milestones allowed per project", limit=limit, given=given
        )


def _refuse_sum_above(amount: Money, parts: list[int]) -> None:
    """Milestones may sum below the amount (the rest is released on completion), never above."""
    total = Money(sum(parts), amount.currency)
    if total.amount > amount.amount:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            f"the milestones sum to {total}, which is more than the escrow's amount of {amount}",
            milestones=total.amount,
            amount=amount.amount,
        )


def _override(policy: ReleasePolicy, override: ReleaseOverride) -> ReleasePolicy:
    """The tenant's release policy with what this escrow sets for itself, validated as a whole."""
    try:
        said = override.model_dump(exclude_none=True)
        payout = PayoutTerms(**(dict(policy.payout) | said.pop("payout", {})))
        return ReleasePolicy(**(dict(policy) | said | {"payout": payout}))
    except ValueError as error:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"release: {error}") from error


def _wallet_gate(case: Case, amount: int) -> None:
    """With ``wallet_gate`` on, an escrow above the buyer's available money is refused. Source: domain.md, section 7."""
    if not case.policies.spend.wallet_gate:
        return
    refuse_short_wallet(case, case.escrow.money(amount), case.escrow.money(0))


def refuse_short_wallet(case: Case, amount: Money, reserve: Money, added: Money | None = None) -> None:
    """Raise payment_required unless ``available >= amount + reserve``; ``required`` is that sum.

    ``added`` of the amount is for the fee.
    """
    available = case.funds.available(amount.currency)
    required = amount + reserve
    if available.amount >= required.amount:
        return
    parts = f"reserve {reserve}" if not added or not added.amount else f"{added} for the fee, reserve {reserve}"
    raise RefusedError(
        ErrorCode.PAYMENT_REQUIRED,
        f"the wallet has {available} available, {required} is required ({parts}): top it up and retry",
        required=required.amount,
        available=available.amount,
        reserve=reserve.amount,
        currency=amount.currency,
        top_up_url=top_up_url(case),
    )


def top_up_url(case: Case) -> str:
    """Where the buyer's wallet is topped up."""
    return f"/v1/wallets/{case.escrow.buyer}/topups"
