"""What can be known of an action before anything starts, by the rules that would refuse it later."""

from typing import Final

from models.commands import Actor, Command
from models.decide import ROWS
from models.errors import RefusedError
from models.escrow import Dispute, Escrow
from models.money import MAX_AMOUNT
from models.states import DisputeStatus, State

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
