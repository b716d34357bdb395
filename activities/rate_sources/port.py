"""The one port to whoever publishes exchange rates."""

from typing import Final, Protocol

from models.exchange import Rate

MAX_BYTES: Final = 1_000_000
"""A table of every currency there is has a few thousand bytes; ninety days of one, some hundred thousand."""


class RatesUnavailableError(Exception):
    """The source cannot be read now: unreachable, slow, out of order, not there. Says nothing about its rates."""


class RatesMalformedError(Exception):
    """What the source publishes is not what it should be. Reading it again will not help, nor is a part of it used."""


class RateSource(Protocol):
    """A publisher of rates. Synchronous and thread-safe; messages of its errors hold no secret."""

    @property
    def name(self) -> str:
        """Who says so, as it is stored with each rate; at most 200 characters."""

    def fetch(self) -> list[Rate]:
        """All rates it publishes, at least one. Raises ``RatesUnavailableError``, ``RatesMalformedError``."""
