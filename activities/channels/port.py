"""The one port to whoever is told: people by mail, a log, another program. A new way of telling is one more class."""

from collections.abc import Sequence
from typing import Protocol

from models.notifications import Message, News


class UndeliverableError(Exception):
    """Definite: this message will never reach its recipient, so the next one may go. Its text is ours and is kept:
    it holds no address and nothing personal."""


class ChannelUnavailableError(Exception):
    """Not now: the same message is handed over again later. Its text is ours and is kept, like that of the other."""


class Channel(Protocol):
    """One way of telling. Synchronous and thread-safe.

    A message may be handed over more than once (a crash before it was written down), so a channel gives its recipient
    something to recognise it by; ``message.event.id`` with the recipient is it.
    """

    @property
    def name(self) -> str:
        """The channel's name in the record of notifications; never changed once used."""

    def addressed(self, news: News) -> Sequence[Message]:
        """Whom this channel tells of the news, in which words; at most one message per role and party. Pure."""

    def hand_over(self, message: Message) -> None:
        """Hand a message over, within seconds.

        Raises ``UndeliverableError`` or ``ChannelUnavailableError``; anything else is taken for the latter.
        """
