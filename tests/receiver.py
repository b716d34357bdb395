"""A marketplace's webhook receiver on this machine: keeps what came, answers as told, verifies as a receiver would."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

Answer = tuple[int, dict[str, str], bytes]
FINE: Answer = (204, {}, b"")


@dataclass(frozen=True)
class Arrived:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Any:
        """The event, if the library of the standard takes the signature. Raises ``WebhookVerificationError``."""
        return Webhook(secret).verify(self.body, self.headers)

    @property
    def event(self) -> Any:
        """The event, unverified."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """What arrived, and what is answered: ``answer`` for every path that has none of its own."""

    url: str
    arrived: list[Arrived] = field(default_factory=list)
    answer: Answer | Callable[[Arrived], Answer] = FINE

    def at(self, path: str) -> list[Arrived]:
        """What came to one path."""
        return [one for one in self.arrived if one.path == path]

    def types(self, path: str = "/") -> list[str]:
        """The types of the events that came to a path, in the order of arrival."""
        return [one.event["type"] for one in self.at(path)]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for the duration of a block."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            arrived = Arrived(self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])))
            receiver.arrived.append(arrived)
            answer = receiver.answer
            status, headers, body = answer(arrived) if callable(answer) else answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
