"""A child that has to be there: started until it is ready, and started again whenever it dies."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starter.embedded.child import Child, Command, StackError
from starter.embedded.children import Children

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 30.0


@dataclass
class Service:
    """How to start one child and see that it works. ``before`` runs ahead of every start."""

    command: Command
    ready: Callable[[Child], bool]
    ready_within: float
    before: Callable[[], None] = lambda: None
    _deaths: int = field(default=0, init=False)
    _started_at: float = field(default=0.0, init=False)
    _retry_at: float | None = field(default=None, init=False)
    _returning: bool = field(default=False, init=False)

    def start(self, children: Children) -> None:
        """Start it and return when it works. Raises ``StackError`` when it does not within ``ready_within`` seconds."""
        child = self._launch(children)
        child.wait_until(lambda: self.ready(child), self.ready_within)

    def look_after(self, children: Children, progress: Callable[[str], None]) -> None:
        """Start it again if it died, at once the first time and ever later when it keeps dying. Does not wait."""
        child = children.get(self.command.name)
        if child is not None and child.alive():
            self._welcome(child, progress)
            return
        if self._retry_at is None:
            ending = child.ending() if child is not None else "it did not start"
            self._retry_at = time.monotonic() + self._pause()
            progress(f"{self.command.name} died ({ending}); starting it again.")
        if time.monotonic() >= self._retry_at:
            self._retry_at = None
            self._relaunch(children, progress)

    def _relaunch(self, children: Children, progress: Callable[[str], None]) -> None:
        try:
            self._launch(children)
        except StackError as error:
            progress(str(error))
        else:
            self._returning = True

    def _launch(self, children: Children) -> Child:
        self.before()
        self._started_at = time.monotonic()
        return children.spawn(self.command)

    def _welcome(self, child: Child, progress: Callable[[str], None]) -> None:
        if self._returning and self.ready(child):
            self._returning = False
            progress(f"{self.command.name} is back (pid {child.pid}).")

    def _pause(self) -> float:
        """Return the seconds until the next attempt: none after a steady run, doubling while it dies early."""
        if time.monotonic() - self._started_at > _STEADY_SECONDS:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (self._deaths - 2))
