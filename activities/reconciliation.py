"""Rounds of reconciliation as Temporal activities: reading what the provider moved, comparing, and what is asked then.

Nothing here books anything. What the provider knows and the books do not is looked into by the events that the provider
should have sent, which ``activities.gateway_events`` judges by how things stand and applies once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from time import monotonic
from typing import Final, TypeVar

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.port import GatewayMisconfiguredError, GatewayStatement, GatewayUnavailableError, StatementPage
from activities.standing import LostCharge, Standing, Stray
from ledger import audit, comparing, gateway_events, reconciliation
from ledger.comparing import EquationError
from ledger.seals import Seals
from models.differences import GRACE, Found
from models.reconciliation import Agreement, Finished, ProviderLine, Reading, Reconciliation, Strays

Answer = TypeVar("Answer")

_READ_FOR_SECONDS: Final = 60
_LOOKS: Final = 3
_LOOK_AGAIN: Final = timedelta(seconds=1)
# A provider's clock may be a little behind ours.
_SKEW: Final = timedelta(minutes=1)
_BEAT_SECONDS: Final = 10
# So many escrows and charges are given a workflow in one round, and so many things looked into; the rest the next day.
AT_ONCE: Final = 300
_FIRST_FINDINGS: Final = 3

_REPAIR: Final = "The round starts it again by itself. If it stays: holdfast repair."
_REMEDIES: Final = {
    "not_running": _REPAIR,
    "behind": "The round has it read the books. If it stays: are workers running? Then holdfast repair.",
    "stuck": "Workers fail to go on with it: look at it in the Temporal UI; then holdfast repair --restart-stuck.",
}


class ReconciliationActivities:
    """Compares one provider's books with ours. ``standing`` makes a new walk through the escrows each time.

    ``grace`` is how long one side may be ahead of the other before that is more than late.
    """

    def __init__(
        self,
        engine: Engine,
        provider: str,
        statement: GatewayStatement,
        standing: Callable[[], Standing],
        seals: Seals | None,
        *,
        grace: timedelta = GRACE,
    ) -> None:
        self._engine = engine
        self._provider = provider
        self._statement = statement
        self._standing = standing
        self._seals = seals
        self._grace = grace
        self._pool = ThreadPoolExecutor(thread_name_prefix="reconciliation-work")

    @activity.defn(no_thread_cancel_exception=True)
    def begin_round(self, identifier: str) -> Reading:
        """Write down that a round has begun; answers from where the provider's statement is to be read."""
        with _said_briefly():
            return reconciliation.begin(self._engine, identifier, self._provider)

    @activity.defn(no_thread_cancel_exception=True)
    def read_statement(self, reading: Reading) -> Reading:
        """Read on for about a minute, page by page, each committed; answers how far that came.

        Raises ``GatewayUnavailable`` or ``GatewayMisconfigured``; reading goes on where the last answer was.
        """
        with _said_briefly():
            return self._read(reading)

    @activity.defn(no_thread_cancel_exception=True)
    def compare_with_provider(self, reading: Reading) -> Agreement:
        """Compare the books with the provider's lines. Raises ``EquationError`` where the parts make no whole."""
        with _said_briefly():
            return self._beating(lambda: comparing.compare(self._engine, reading, self._grace))

    @activity.defn
    async def compare_with_workflows(self, identifier: str) -> Strays:
        """Compare what the books have as not over with the workflows that look after it, for the round of that id."""
        standing = self._standing()
        async with _heartbeats():
            strays = [one async for one in standing.strays()]
            lost = [one async for one in standing.lost_charges() if _is_old(one.since, self._grace)]
            found = [*map(_stray, strays), *map(_lost_charge, lost)]
            with _said_briefly():
                await asyncio.to_thread(reconciliation.replace_all, self._engine, self._provider, "workflows", found)
        asleep = [one.escrow for one in strays if one.cause != "stuck"]
        orders = [self._seals.seal_charge(one.order) if self._seals else one.order for one in lost]
        return Strays(
            round=identifier,
            escrows=standing.looked_at,
            found=len(found),
            asleep=tuple(asleep[:AT_ONCE]),
            charges=tuple(orders[:AT_ONCE]),
        )

    @activity.defn(no_thread_cancel_exception=True)
    def compare_with_themselves(self) -> int:
        """Check every hash chain and every sum of the books; answers how much of them is unsound."""
        with _said_briefly():
            return self._beating(self._verify)

    @activity.defn(no_thread_cancel_exception=True)
    def look_into(self) -> int:
        """Store the events by which what the provider knows better is looked into; answers how many are new."""
        with _said_briefly():
            events = self._beating(lambda: reconciliation.to_look_into(self._engine, self._provider, AT_ONCE))
            return sum(gateway_events.receive(self._engine, self._provider, event) for event in events)

    @activity.defn(no_thread_cancel_exception=True)
    def being_looked_into(self, identifier: str) -> int:
        """How much of what the round has set going is not done yet."""
        with _said_briefly():
            return reconciliation.being_looked_into(self._engine, identifier)

    @activity.defn(no_thread_cancel_exception=True)
    def finish_round(self, done: Finished) -> Reconciliation:
        """Write down what the round came to; answers it as the books have it."""
        with _said_briefly():
            return reconciliation.finish(self._engine, done)

    def _read(self, reading: Reading) -> Reading:
        if reading.read_up_to is None:
            # A clock that is ahead must not make the next round begin after what this one has read.
            reading = reading.model_copy(
                update={"read_up_to": min(datetime.now(UTC), reconciliation.clock(self._engine))}
            )
        until = monotonic() + _READ_FOR_SECONDS
        while monotonic() < until and not activity.is_cancelled() and not activity.is_worker_shutdown():
            page = self._page(reading.since, reading.after)
            reconciliation.store(self._engine, self._provider, page.lines)
            activity.heartbeat()
            reading = reading.model_copy(update={"after": page.after, "pages": reading.pages + 1})
            if page.after is None:
                return self._balanced(reading)
        return reading

    def _page(self, since: datetime | None, after: str | None) -> StatementPage:
        """One page. Its lines may make it necessary to ask about some hundred other things."""
        return self._beating(lambda: self._statement.lines(since, after))

    def _balanced(self, reading: Reading) -> Reading:
        """Read what came meanwhile, until lines make up the balance of each currency, or what it moves all the time.

        Where they do not, some are missing: written down late, say. Then everything is read again, once in a round.
        """
        since = (reading.read_up_to or datetime.now(UTC)) - _SKEW
        exact: dict[str, int] = {}
        likely: dict[str, int] = {}
        doubted: set[str] = set()
        for look in range(_LOOKS):
            if look:
                activity.wait_for_worker_shutdown_sync(_LOOK_AGAIN)
            balances = self._statement.balances()
            # Asked in this order: of the lines that are new now, the last ones may be none of that balance's.
            new = self._store_since(since)
            held = self._beating(lambda: reconciliation.held(self._engine, self._provider))
            for one in {*balances, *held}:
                more, of_it = held.get(one, 0) - balances.get(one, 0), [line for line in new if line.currency == one]
                # Only a moment of quiet says for certain. In others a line that is missing may pass for a new one.
                if not of_it and more:
                    doubted.add(one)
                elif not of_it:
                    exact[one] = balances.get(one, 0)
                elif not more or _written_since(more, of_it):
                    likely[one] = balances.get(one, 0)
            if {*balances, *held} <= exact.keys():
                break
        stated = {one: units for one, units in likely.items() if one not in doubted} | exact
        if not ({*balances, *held} <= stated.keys() or reading.in_full or reading.since is None):
            return reading.model_copy(update={"since": None, "after": None, "in_full": True})
        moved = {one: held.get(one, 0) - units for one, units in stated.items() if held.get(one, 0) != units}
        return reading.model_copy(update={"done": True, "balances": balances | stated, "moved": moved})

    def _store_since(self, since: datetime) -> list[ProviderLine]:
        """What is new, the newest first."""
        new: list[ProviderLine] = []
        after = None
        while True:
            page = self._page(since, after)
            new += reconciliation.store(self._engine, self._provider, page.lines)
            activity.heartbeat()
            if (after := page.after) is None:
                return new

    def _beating(self, work: Callable[[], Answer]) -> Answer:
        """Do what takes long on another thread, and go on reporting that this one lives."""
        doing = self._pool.submit(work)
        while True:
            with suppress(TimeoutError):
                return doing.result(_BEAT_SECONDS)
            if doing.done():
                return doing.result()
            activity.heartbeat()

    def _verify(self) -> int:
        verification = audit.verify(self._engine)
        told: dict[tuple[str, str], list[str]] = {}
        for one in verification.findings:
            told.setdefault((one.tenant, one.escrow or ""), []).append(f"{one.kind}: {one.says}")
        found = [_unsound(tenant, escrow or None, says) for (tenant, escrow), says in told.items()]
        reconciliation.replace_all(self._engine, self._provider, "books", found)
        return verification.total


def _written_since(more: int, new: list[ProviderLine]) -> bool:
    """Whether the last lines of a currency, of which the newest is the first, make up what there is more than held."""
    return more in accumulate(line.amount - line.fee for line in new)


def _stray(one: Stray) -> Found:
    return Found(
        compared="workflows",
        cause=one.cause,
        subject=one.escrow,
        since=one.since,
        says=f"escrow {one.escrow} is {one.state} in the books (version {one.version}): {one.why}",
        remedy=_REMEDIES[one.cause],
        tenant=one.tenant,
        escrow=one.escrow,
    )


def _lost_charge(one: LostCharge) -> Found:
    return Found(
        compared="workflows",
        cause="not_running",
        subject=one.order.id,
        since=one.since,
        says=f"charge {one.order.id} is pending in the books, and nobody asks about it: its workflow is {one.workflow}",
        remedy=_REPAIR,
        tenant=one.order.tenant,
    )


def _unsound(tenant: str, escrow: str | None, says: list[str]) -> Found:
    more = f"; and {len(says) - _FIRST_FINDINGS} more" if len(says) > _FIRST_FINDINGS else ""
    return Found(
        compared="books",
        cause="unsound",
        subject=escrow or tenant,
        since=datetime.now(UTC),
        says="; ".join(says[:_FIRST_FINDINGS]) + more,
        remedy="Somebody went past the program: holdfast verify tells all of it, docs/reports.md what to do.",
        tenant=tenant,
        escrow=escrow,
    )


def _is_old(since: datetime, grace: timedelta) -> bool:
    """A charge is written down a moment before its workflow is there to be seen."""
    return datetime.now(UTC) - since > grace


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


@contextmanager
def _said_briefly() -> Iterator[None]:
    """Say in one line what went wrong: a chain of causes would be too long for the server, and hold others' words."""
    try:
        yield
    except EquationError as error:
        raise ApplicationError(str(error), type="EquationError", non_retryable=True) from None
    except (GatewayUnavailableError, GatewayMisconfiguredError) as error:
        raise ApplicationError(str(error)[:300], type=type(error).__name__) from None
    except (psycopg.Error, SQLAlchemyError) as error:
        line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
        raise ApplicationError(line, type=type(error).__name__) from None
