"""No provider at all: what the tenant declares of its parties stands."""

from models.screening import Screening, Subject


class DeclaredProvider:
    """Changes nothing, so a screening only sees to it that what was declared since takes effect at once."""

    @property
    def name(self) -> str:
        """The port's name of it."""
        return "declared"

    def screen(self, subject: Subject) -> Screening:  # noqa: ARG002 - the port's signature
        """No say in the KYC status, and nothing against anybody."""
        return Screening()
