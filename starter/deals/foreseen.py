"""What can be known of an action before anything starts, by the rules that would refuse it later."""

from collections.abc import Collection
from typing import Final

from models.commands import Actor, Command
from models.decide import ROWS
from models.errors import RefusedError
from models.escrow import Dispute, Escrow
from models.exchange import LEAST_RATE, MOST_RATE, PIVOT, Rate
from models.money import MAX_AMOUNT
from models.states import DisputeStatus, State
from models.templates import TEMPLATES
from starter.deals.problems import suggestion
from starter.deals.written import BlockParty, Change

_FUNDS: Final = "fund"
_RESOLVES: Final = "resolve_dispute"


def wrong_role(do: str, actor: Actor) -> str | None:
    """Why somebody in that role can never do this, by the table of commands: ``alice is the buyer: ...``."""
    row = ROWS.get(do)
    if row is None or actor.role in row.roles:
        return None
    return f"{actor.party or 'this'} is the {actor.role}: {do} is for {' or '.join(sorted(row.roles))}"


def wrong_resolution(agreed: Escrow, command: Command, dispute: str) -> str | None:
    """Why no dispute can be resolved so: ``resolution split needs seller_share``.

    The rule looks at a dispute that was taken by an operator, of so much money that no amount is too large for it.
    """
    if command.name != _RESOLVES:
        return None
    taken = Dispute(
        id=dispute,
        raised_by="buyer",
        reason="sample",
        description="sample",
        milestones=(),
        amount=MAX_AMOUNT,
        status=DisputeStatus.UNDER_REVIEW,
        came_from=State.IN_PROGRESS,
    )
    try:
        ROWS[_RESOLVES].check(agreed.model_copy(update={"disputes": (taken,)}), command)
    except RefusedError as error:
        return error.refusal.message
    return None


def wrong_funding(agreed: Escrow, command: Command) -> str | None:
    """Why nobody can pay so: ``source gateway needs a payment_method``."""
    if command.name != _FUNDS:
        return None
    try:
        ROWS[_FUNDS].check(agreed, command)
    except RefusedError as error:
        return error.refusal.message
    return None


def wrong_rate(rate: Rate) -> tuple[str, str] | None:
    """The key that makes a rate one that cannot be written down, and why."""
    if rate.base == rate.quote:
        return "quote", f"a rate is between two currencies, and both are {rate.base}"
    if not LEAST_RATE <= rate.rate <= MOST_RATE:
        return "rate", f"a rate lies between {LEAST_RATE:f} and {MOST_RATE:f}"
    return None


def convertible(base: str, quote: str, pairs: Collection[tuple[str, str]]) -> bool:
    """Whether rates of these pairs lead from one currency to another: either way round, or over the euro."""

    def known(one: str, other: str) -> bool:
        return one == other or (one, other) in pairs or (other, one) in pairs

    return known(base, quote) or (known(PIVOT, base) and known(PIVOT, quote))


def wrong_template(name: str, earlier: Collection[str]) -> str | None:
    """Why a tenant's own template cannot be called so."""
    if name in TEMPLATES:
        return f"template {name!r} is built in: choose another name"
    return f"there is a template {name!r} above this one" if name in earlier else None


def unknown_template(name: str, own: Collection[str]) -> str | None:
    """What templates there are instead, the built-in ones and those of the file."""
    known = sorted({*TEMPLATES, *own})
    if name in known:
        return None
    return f"unknown template {name!r}{suggestion(name, known)}: there are {', '.join(known)}"


def changes_nothing(said: Change) -> str | None:
    """What a change could have changed, when it changes nothing: ``change_policy needs one of fees, release``."""
    fields = [name for name in type(said).model_fields if name not in {"do", "party"}]
    if isinstance(said, BlockParty) or any(getattr(said, name) is not None for name in fields):
        return None
    return f"{getattr(said, 'do', 'this')} changes nothing: give {' or '.join(fields)}"
