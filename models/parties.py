"""What a tenant tells of a party. Source: domain.md, sections 1 and 12."""

from typing import Annotated

from pydantic import StringConstraints

from models.facts import KycStatus
from models.fields import Document, Line
from models.telling import Language

# Enough to be written to: what is before and after the @, and nothing that could end a header.
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s<>(),;:\\\"\[\]]{1,64}@[A-Za-z0-9.-]{1,185}$")]
Destination = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,100}$")]


class PartyDetails(Document):
    """A person or a business that buys or sells; every part may be given later."""

    name: Line | None = None
    email: Email | None = None
    language: Language | None = None
    kyc_status: KycStatus | None = None
    payout_destination: Destination | None = None
