"""Asking an outside provider about a party: what is asked, what is answered, and what the answer may change.

What workflows carry of it are ids and statuses. Names and reasons stay in the party's row: histories are kept long.
"""

from dataclasses import dataclass, field

from models.commands import SYSTEM, RequestPayout
from models.facts import KycStatus
from models.fields import Document, PartyId, PayoutId, TenantId, printable


class ScreenParty(Document):
    """Whom to screen."""

    tenant: TenantId
    party: PartyId


def screening_workflow(of: ScreenParty) -> str:
    """The id of the workflow that screens a party: one at a time."""
    return f"screen:{of.tenant}:{of.party}"


class HeldPayout(Document):
    """A payout that compliance holds, and its escrow. ``seal`` is that of the request for it."""

    payout: PayoutId
    escrow: str
    seal: str | None = None

    def request(self, page: "LiftedPage") -> RequestPayout:
        """The command that has it looked at again."""
        identifier = f"{page.request}:{self.payout}"
        return RequestPayout(id=identifier, escrow=self.escrow, actor=SYSTEM, payout=self.payout, seal=self.seal)


class LiftedPage(Document):
    """Which held payouts to read: those of a party after one that was read before.

    ``request`` begins the ids of the commands that ask for them; it is unique to this asking.
    """

    tenant: TenantId
    party: PartyId
    after: str = ""
    request: str = "screened"


class ScreeningResult(Document):
    """What a party is after its screening. ``told`` payouts that were held were asked to be looked at again."""

    provider: str
    kyc_status: KycStatus
    blocked: bool
    told: int = 0

    def __str__(self) -> str:
        blocked = "blocked" if self.blocked else "not blocked"
        return f"{self.provider}: KYC {self.kyc_status}, {blocked}; {self.told} held payouts looked at again"


@dataclass(frozen=True)
class Subject:
    """A party as a provider gets to know it. What is personal is not part of its ``repr``."""

    tenant: str
    party: str
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    kyc_status: KycStatus


@dataclass(frozen=True)
class Screening:
    """A provider's definite answer about a party.

    ``kyc_status`` None: the provider has no say in it, what the tenant declared stands. ``blocked_because`` None: the
    provider has nothing against the party, so a block of its own is lifted.
    """

    kyc_status: KycStatus | None = None
    blocked_because: str | None = field(default=None, repr=False)


def block_after(current: str | None, provider: str, screening: Screening) -> str | None:
    """Why the party is blocked after a screening, or None.

    A block bears the name of the provider that made it: ``screening (blocklist): on the list of 2026``. A screening
    makes, rewords and lifts blocks of its own provider only. A block that somebody wrote by hand, or that another
    provider made, stands until somebody lifts it by hand. A provider's block that is lifted by hand comes back with the
    next screening, as long as the provider insists.
    """
    own = f"screening ({provider}): "
    if current is not None and not current.startswith(own):
        return current
    if screening.blocked_because is None:
        return None
    return printable(own + (screening.blocked_because.strip() or "no reason given"))
