"""Port numbers of one stack: free ones, the same at every start, and none that another stack is about to use."""

import json
import random
import socket
from pathlib import Path

from starter.embedded.child import StackError

_HOST = "127.0.0.1"
# Below what the system hands to outgoing connections: while a server is away, one of those could take its number, or
# a client that keeps calling it could even connect to itself.
_RANGE = range(20_000, 32_000)


class Ports:
    """Hands out ports on 127.0.0.1 and keeps those it chose itself in ``record`` (JSON)."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._held: list[socket.socket] = []

    def take(self, configured: dict[str, int]) -> dict[str, int]:
        """Return a port for every name; 0 lets us choose. Raises ``StackError`` when a configured port is taken."""
        earlier = self._read()
        taken = {name: self._configured(name, port) for name, port in configured.items() if port}
        chosen = {name: self._choose(earlier.get(name)) for name, port in configured.items() if not port}
        self._record.write_text(json.dumps({**earlier, **chosen}))
        return {**taken, **chosen}

    def release(self) -> None:
        """Give the numbers back."""
        while self._held:
            self._held.pop().close()

    def _configured(self, name: str, port: int) -> int:
        if not self._hold(port):
            variable = f"HOLDFAST_{name.upper()}_PORT"  # as settings.py has it
            raise StackError(
                f"Port {port} ({variable}) is taken or not allowed. Stop what uses it, or set {variable} to another "
                "one, or to 0 for a free one."
            )
        return port

    def _choose(self, earlier: int | None) -> int:
        candidates = random.sample(_RANGE, 200)  # numbers to try, nothing secret
        for port in [earlier, *candidates] if earlier else candidates:
            if self._hold(port):
                return port
        raise StackError(f"No free port between {_RANGE.start} and {_RANGE.stop} on {_HOST}.")

    def _hold(self, port: int) -> bool:
        """Reserve a port that nobody listens on, by holding the UDP port of the same number, which nobody wants."""
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind((_HOST, port))
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((_HOST, port))
        except OSError:
            reservation.close()
            return False
        self._held.append(reservation)
        return True

    def _read(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return ports
