"""What became of a command: the escrow as it now is, or a refusal. Stored, and answered again to whoever repeats it."""

from models.errors import Refusal
from models.escrow import Escrow
from models.fields import Document


class Outcome(Document):
    """``refusal`` is None when the command was accepted; ``escrow`` is None when there is none to show."""

    escrow: Escrow | None = None
    refusal: Refusal | None = None
