"""Connections that keep us waiting: closed when headers take too long, and the oldest of them when there are many.

uvicorn bounds only the time between two requests, from an answer to the next byte. Bodies have their own limit of time,
in ``boundary``.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_SECONDS: Final = 10.0
MOST_CONNECTIONS: Final = 800  # of the 1,024 files that a process may often have open


class Patience(H11Protocol):
    """HTTP/1.1 for uvicorn, whose patience with a connection that asks for nothing yet has an end."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._give_up: asyncio.TimerHandle | None = None
        self._waiting_since = self.loop.time()

    @property
    def at_work(self) -> bool:
        """Whether a request has arrived as far as its headers, and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def keeps_waiting(self) -> bool:
        """Whether nothing is lost when it is closed."""
        return not self.at_work and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request, and make room."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            waiting = (one for one in self.connections if isinstance(one, Patience) and one.keeps_waiting)
            min(waiting, key=lambda one: one._waiting_since).transport.abort()  # at worst this one

    def data_received(self, data: bytes) -> None:
        """Stop to wait when the headers are complete; a part of them does not begin it anew."""
        super().data_received(data)
        if self.at_work:
            self._stop_waiting()
        else:
            self._wait()

    def on_response_complete(self) -> None:
        """Idle from now on, until uvicorn ends that or the next request begins."""
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._give_up is None and not self.transport.is_closing():
            self._give_up = self.loop.call_later(HEADERS_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None
