"""An answer that costs something to get: asked for once at a time, however many want it, and kept for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

Answer = TypeVar("Answer")
log = structlog.get_logger(__name__)


class Kept(Generic[Answer]):
    """What ``ask`` answered last; belongs to one event loop.

    It is asked again after ``keep_seconds`` at the earliest, and so seldom that it is busy for at most ``share`` of the
    time: what takes 2 s at a share of 0.05 is kept for 40 s. A failure is kept as long as an answer.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[Answer]], *, keep_seconds: float, share: float = 1.0
    ) -> None:
        self.name = name
        self._ask = ask
        self._keep = keep_seconds
        self._share = share
        self._due = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._answered_at: float | None = None
        self._answer: Answer | None = None
        self._failed: Exception | None = None

    async def refresh(self, within_seconds: float) -> bool:
        """Ask again if it is time, and wait for the answer; whether it is there and no failure."""
        if self._asking is None and time.monotonic() >= self._due:
            self._asking = asyncio.create_task(self._run(), name=f"asking for {self.name}")
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=within_seconds)
        return self._asking is None and self._failed is None

    @property
    def answer(self) -> Answer | None:
        """The last answer; None before there is one and while asking fails."""
        return self._answer if self._failed is None else None

    @property
    def failure(self) -> Exception | None:
        """Why there is no answer, if asking has failed."""
        return self._failed

    @property
    def age_seconds(self) -> float | None:
        """How long ago the last answer came, whatever was asked since; None before there is one."""
        return None if self._answered_at is None else time.monotonic() - self._answered_at

    async def _run(self) -> None:
        began = time.monotonic()
        try:
            self._answer = await self._ask()
            self._answered_at, self._failed = time.monotonic(), None
        except Exception as error:
            if self._failed is None:
                log.warning("no answer", asked_for=self.name, exc_info=error)
            self._failed = error
        finally:
            ended = time.monotonic()
            self._due = ended + max(self._keep, (ended - began) / self._share)
            self._asking = None
