"""What workflows are started with: ids and the clock, never secrets or personal data."""

from models.fields import Document


class EscrowInput(Document):
    """An escrow's workflow. ``clock_offset`` is how many seconds the tenant's test clock is ahead."""

    escrow: str
    clock_offset: int = 0


class PayoutInput(Document):
    """One generation of a payout."""

    escrow: str
    payout: str
    generation: int


class ClockAdvance(Document):
    """A test clock was moved: it is now this many seconds ahead."""

    clock_offset: int
