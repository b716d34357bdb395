"""What a worker measures of its work on the books. docs/observability.md lists it; no label has an id in it."""

from contextlib import AbstractContextManager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS: Final = tuple(milliseconds / 1000 for milliseconds in (1, 2, 4, 6, 8, 12, 20, 40, 100, 400, 2000, 15000))


class BooksMetrics:
    """The metrics of one worker, in ``registry``; without one they are counted for nobody."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._commands = Counter(
            "holdfast_books_commands",
            "Commands that the books decided, or gave the earlier outcome of, by what became of them.",
            ("name", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "holdfast_books_command_seconds",
            "How long the books took for a command, its transaction in PostgreSQL included.",
            ("name",),
            buckets=_BUCKETS,
            registry=registry,
        )

    def timing(self, name: str) -> AbstractContextManager[Any]:
        """Time the block as one attempt at a command of that name."""
        return self._seconds.labels(name).time()

    def decided(self, name: str, outcome: str) -> None:
        """One attempt ended: ``accepted``, the code of its refusal, or ``failed``, after which it is tried again."""
        self._commands.labels(name, outcome).inc()
