"""Edge case 49: no space left, no connection left, clocks that differ. No wrong money, clear errors, and it goes on."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
import sqlalchemy.exc
from psycopg import errors
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.ledger import LedgerActivities
from ledger import books
from ledger.books import Books
from ledger.engine import connect
from models.commands import ApproveMilestone, ReachDeadline, RejectMilestone
from models.states import State
from tests.builders import order
from tests.market import GATEWAY, Market, now
from tests.servers import Connection, Servers

HOUR = timedelta(hours=1)
_FULL = """
CREATE FUNCTION pg_temp.full_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.tenant_id = '{tenant}' THEN
        RAISE EXCEPTION 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = 'disk_full';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER no_space BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pg_temp.full_{table}();
"""


@contextmanager
def no_space(owner: Connection, table: str, market: Market) -> Iterator[None]:
    """PostgreSQL answers this tenant as it does when the disk is full while a row of the table is added."""
    owner.execute(_FULL.format(table=table, tenant=market.tenant).encode())
    owner.commit()
    try:
        yield
    finally:
        owner.execute(f"DROP TRIGGER no_space ON {table}".encode())
        owner.commit()


@pytest.mark.parametrize("table", ["command", "settlement", "ledger_transaction", "entry", "audit", "event"])
def test_edge_49_a_full_disk_at_any_row_writes_nothing_and_the_same_command_goes_through_later(
    market: Market, owner: Connection, table: str
) -> None:
    """What is missing space is the transaction, whole: no settlement without entries, no money without an audit row."""
    escrow = market.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    with no_space(owner, table, market), pytest.raises(errors.DiskFull):
        market.apply(approve)
    assert market.escrow(escrow) == escrow
    assert market.count("settlement", escrow) == 0
    market.audit()
    assert market.accept(approve).released == 150000
    assert market.count("settlement", escrow) == 1


def test_edge_49_a_worker_says_that_the_disk_is_full_and_the_engine_tries_again(
    market: Market, owner: Connection
) -> None:
    """The activity's failure is one line for operators and may be tried again."""
    activity = ActivityEnvironment()
    escrow = market.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    ledger = LedgerActivities(market.books, GATEWAY)
    with no_space(owner, "entry", market), pytest.raises(ApplicationError, match="No space left on device") as failed:
        activity.run(ledger.apply, approve)
    assert not failed.value.non_retryable
    assert failed.value.type == "DiskFull"
    assert activity.run(ledger.apply, approve).refusal is None


def test_edge_49_without_a_connection_left_a_command_waits_and_then_says_so(market: Market, servers: Servers) -> None:
    """A pool that is exhausted is infrastructure: nothing was decided, and the next attempt decides."""
    engine = connect(servers.endpoints.database_url, 1)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]  # not 15 s
    escrow = market.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    ledger = LedgerActivities(Books(engine), GATEWAY)
    with (
        closing(engine.raw_connection()),
        pytest.raises(ApplicationError, match="QueuePool limit of size 1") as failed,
    ):
        ActivityEnvironment().run(ledger.apply, approve)
    assert failed.value.type == sqlalchemy.exc.TimeoutError.__name__
    assert not failed.value.non_retryable
    assert market.escrow(escrow) == escrow
    assert ActivityEnvironment().run(ledger.apply, approve).refusal is None
    engine.dispose()


@pytest.fixture
def skewed(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Set the clock of this machine, as the books read it, apart from that of Temporal and of PostgreSQL."""

    def by(skew: timedelta) -> None:
        class Skewed(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(UTC) + skew).timestamp(), tz)

        monkeypatch.setattr(books, "datetime", Skewed)

    return by


@pytest.mark.parametrize("skew", [30 * HOUR, -30 * HOUR], ids=["ahead", "behind"])
def test_edge_49_a_workers_clock_releases_nothing_early(
    market: Market, skewed: Callable[[timedelta], None], skew: timedelta
) -> None:
    """What is due is decided by when Temporal had the command, and not by the clock of the worker that applies it."""
    escrow = market.at(State.MILESTONE_PENDING, release={"mode": "auto", "review_window": "PT24H"})
    skewed(skew)
    early = order(ReachDeadline, escrow, received_at=now())
    assert market.accept(early).released == 0
    rejected = market.do(RejectMilestone, market.escrow(escrow), received_at=now())
    assert (rejected.released, rejected.state) == (0, State.IN_PROGRESS)


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_edge_49_workers_whose_clocks_differ_write_one_history_that_never_goes_back(
    market: Market, skewed: Callable[[timedelta], None], skew: timedelta
) -> None:
    """An escrow that one worker moved an hour ahead is taken up by another: times only rise, and its money is right."""
    skewed(skew)
    ahead = market.at(State.MILESTONE_PENDING)
    skewed(-skew)
    back = market.do(ApproveMilestone, ahead, received_at=now())
    assert back.updated_at >= ahead.updated_at
    assert (back.released, market.count("settlement", back)) == (150000, 1)
