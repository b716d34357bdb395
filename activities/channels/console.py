"""That something is told, as lines of JSON on the worker's log: what one sees before there is a mail server.

Logs are kept long and read by many: a line has ids and a subject without titles, and nothing that people wrote.
"""

import json
import sys
from collections.abc import Sequence
from typing import TextIO

from activities.channels.port import UndeliverableError
from models.notifications import Message, News, messages


class ConsoleChannel:
    """One line per message, without its text or any address; ``stream`` is standard output unless another is given."""

    name = "console"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def addressed(self, news: News) -> Sequence[Message]:
        """Everybody whom the news concerns."""
        return messages(news)

    def hand_over(self, message: Message) -> None:
        """Write the line. A log that cannot be written holds nobody's mail back, so that is definite."""
        line = {
            "notification": message.event.id,
            "type": message.event.type,
            "tenant": message.event.tenant,
            "escrow": message.event.escrow,
            "to": message.role,
            "party": message.party,
            "language": message.language,
            "subject": message.gist,
        }
        stream = self._stream or sys.stdout
        try:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            stream.flush()
        except (OSError, ValueError) as error:  # a full disk, a closed stream, an encoding without these letters
            raise UndeliverableError(f"the log cannot be written: {type(error).__name__}") from error
