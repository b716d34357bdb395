"""The one port to whoever knows who a party is, and whether it may be dealt with."""

from typing import Protocol

from models.screening import Screening, Subject


class ScreeningUnavailableError(Exception):
    """The provider has no answer now: unreachable, slow, out of order, still looking. Asked again; says nothing."""


class ScreeningImpossibleError(Exception):
    """The provider cannot answer until a person mends something: a key, a file. Asking again will not help."""


class ScreeningProvider(Protocol):
    """Answers definitely or not at all. Synchronous, thread-safe, and done within half a minute, which is what a worker
    that shuts down grants.

    Being asked about the same party again is harmless. Messages of its errors hold no secret and nothing personal: they
    are kept in workflow histories.
    """

    @property
    def name(self) -> str:
        """Who says so, as it stands in the reason of a block: short, and never changed lightly."""

    def screen(self, subject: Subject) -> Screening:
        """What is known of a party. Raises ``ScreeningUnavailableError``, ``ScreeningImpossibleError``."""
