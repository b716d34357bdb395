"""What became of a command: the escrow as it now is, or a refusal. Stored, and answered again to whoever repeats it."""

from models.errors import Refusal
from models.escrow import Escrow
from models.facts import Carried
from models.fields import Document


class Outcome(Document):
    """``refusal`` is None when the command was accepted; ``escrow`` is None when there is none to show.

    ``carried_along`` are payouts of other escrows that may go because of it.
    """

    escrow: Escrow | None = None
    refusal: Refusal | None = None
    carried_along: tuple[Carried, ...] = ()
