"""What became of a command: the escrow as it now is, or a refusal. Stored, and answered again to whoever repeats it."""

from models.commands import SYSTEM, RequestPayout
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

    def requests(self) -> tuple[RequestPayout, ...]:
        """The commands that tell those escrows; the same whenever the same outcome is answered."""
        version = self.escrow.version if self.escrow else 0
        return tuple(
            RequestPayout(
                id=f"carried:{one.payout}:{version}",
                escrow=one.escrow,
                actor=SYSTEM,
                payout=one.payout,
                seal=one.seal,
            )
            for one in self.carried_along
        )
