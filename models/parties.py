"""What a tenant tells of a party. Source: domain.md, sections 1 and 12."""

from typing import Annotated

from pydantic import StringConstraints

from models import forms
from models.facts import KycStatus
from models.fields import Document, Line
from models.telling import Language

Email = Annotated[str, StringConstraints(pattern=forms.EMAIL)]
Destination = Annotated[str, StringConstraints(pattern=forms.ACCOUNT)]


class PartyDetails(Document):
    """A person or a business that buys or sells; every part may be given later."""

    name: Line | None = None
    email: Email | None = None
    language: Language | None = None
    kyc_status: KycStatus | None = None
    payout_destination: Destination | None = None
