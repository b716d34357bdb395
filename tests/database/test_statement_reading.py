"""Reading a statement: what is written down late, in the future, or while it is read, is neither lost nor excused."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from temporalio.testing import ActivityEnvironment

from activities import reconciliation as activities
from activities.gateways.port import StatementPage
from activities.reconciliation import ReconciliationActivities
from activities.standing import Standing
from ledger import reconciliation
from models.differences import Found
from models.reconciliation import Agreement, Difference, Finished, ProviderLine
from tests.builders import new_id
from tests.reconciling import NOW, empty_books, own_books
from tests.servers import Servers


@pytest.fixture(scope="module")
def books(servers: Servers) -> Iterator[Engine]:
    """Books of this file's own; each test has a provider of its own."""
    with empty_books(servers) as empty, own_books(servers, empty) as engine:
        yield engine


@pytest.fixture
def provider(books: Engine, monkeypatch: pytest.MonkeyPatch) -> "Provider":
    """A provider that has moved nothing yet."""
    monkeypatch.setattr(activities, "_LOOK_AGAIN", timedelta(0))
    return Provider(books)


def line(amount: int, age: timedelta = timedelta(hours=1), **fields: object) -> ProviderLine:
    """A charge of somebody's."""
    given = {"id": f"txn_{uuid4().hex}", "type": "charge", "kind": "charge", "amount": amount, "fee": 0}
    created = {"currency": "EUR", "source": None, "created_at": datetime.now(UTC) - age}
    return ProviderLine.model_validate(given | created | fields)


@dataclass
class Provider:
    """Books that no sandbox would keep. As often as it is ``busy_for`` it takes 0.01 when its lines are asked for."""

    engine: Engine
    name: str = field(default_factory=lambda: f"provider_{uuid4().hex}")
    written: list[ProviderLine] = field(default_factory=list)
    hidden: int = 0  # in its balance, and in no line
    busy_for: int = 0
    asked_from: list[datetime | None] = field(default_factory=list)

    def lines(self, since: datetime | None, after: str | None = None) -> StatementPage:
        """All of them."""
        self.asked_from.append(since)
        if self.busy_for:
            self.busy_for -= 1
            self.written.append(line(-1, timedelta(0), kind="other"))
        found = (one for one in reversed(self.written) if since is None or one.created_at >= since)
        return StatementPage(tuple(found), None)

    def balances(self) -> dict[str, int]:
        """The sum of its lines."""
        held = {"EUR": self.hidden}
        for one in self.written:
            held[one.currency] = held.get(one.currency, 0) + one.amount - one.fee
        return held

    def round(self) -> Agreement:
        """One whole round."""

        def no_server() -> Standing:
            raise AssertionError("there is no Temporal here")

        doing, does = (
            ReconciliationActivities(self.engine, self.name, self, no_server, None, grace=NOW),
            ActivityEnvironment().run,
        )
        identifier = new_id("rec")
        reading = does(doing.begin_round, identifier)
        while not reading.done:
            reading = does(doing.read_statement, reading)
        agreement: Agreement = does(doing.compare_with_provider, reading)
        assert agreement.round == identifier
        does(doing.finish_round, Finished(round=identifier, read_up_to=reading.read_up_to, agreement=agreement))
        return agreement

    def open(self) -> dict[str, Difference]:
        """What differs with it, by subject."""
        found, _ = reconciliation.differences(self.engine, "open", 1000)
        return {one.subject: one for one in found if one.provider == self.name}


def test_a_line_that_is_written_down_late_is_read_in_the_same_round(provider: Provider) -> None:
    """Its own time is before all that a round reads again: then everything is read, and only then."""
    provider.written = [line(700)]
    provider.round()
    provider.asked_from.clear()
    provider.written.append(late := line(500, timedelta(days=40)))
    assert [one.unexplained for one in provider.round().balances] == [1200]
    assert provider.open().keys() == {provider.written[0].id, late.id}
    assert None in provider.asked_from
    provider.asked_from.clear()
    provider.round()
    assert None not in provider.asked_from


def test_a_clock_that_is_ahead_leaves_no_line_out(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's says that the statement is read up to next week; PostgreSQL's is believed."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=7)

    with monkeypatch.context() as patched:
        patched.setattr(activities, "datetime", Ahead)
        provider.round()
    last = reconciliation.latest(provider.engine, provider.name)
    assert last is not None
    assert last.read_up_to is not None
    assert last.read_up_to <= datetime.now(UTC)


@pytest.mark.parametrize("hidden", [0, -5_000_000])
def test_only_what_new_lines_account_for_has_moved_meanwhile(provider: Provider, hidden: int) -> None:
    """However busy it is: what its lines do not explain is a difference, in each round."""
    provider.busy_for, provider.hidden = 99, hidden
    provider.round()
    (euros,) = provider.round().balances
    assert ("balance" in provider.open()) == bool(hidden)
    if hidden:
        assert euros.explained == {}
        assert f"{provider.name} says that it holds -50,0" in provider.open()["balance"].says
    else:
        assert euros.explained == {"moved_meanwhile": 1}


def test_a_line_of_the_future_is_not_late_for_ever(provider: Provider) -> None:
    """It counts from when it was read."""
    provider.written = [of := line(700, -timedelta(days=30))]
    provider.round()
    provider.round()
    assert provider.open()[of.id].cause == "missing_here"


def test_a_currency_that_nobody_knows_is_named_in_the_providers_units(provider: Provider) -> None:
    """It keeps nothing else from being compared."""
    provider.written = [stable := line(700, currency="usdc"), euros := line(800)]
    assert {one.currency: one.unexplained for one in provider.round().balances} == {"EUR": 800, "usdc": 700}
    found = provider.open()
    assert found.keys() == {stable.id, euros.id}
    assert "moved 700 units of usdc for charge" in found[stable.id].says
    assert "cannot hold this currency" in found[stable.id].remedy


def test_fees_are_the_providers_and_no_difference(provider: Provider) -> None:
    """What it kept is told beside its balance, below zero."""
    provider.written = [line(2400, fee=94)]
    (euros,) = provider.round().balances
    assert (euros.theirs, euros.fees, euros.explained, euros.unexplained) == (2306, -94, {}, 2400)


def test_a_moment_of_quiet_tells_what_is_missing_from_what_moves(provider: Provider) -> None:
    """Everybody pays the same here, so any payment of those moments could be the one that is missing."""
    provider.hidden, provider.busy_for = -1, 2
    provider.round()
    assert provider.open()["balance"].theirs == -3


def test_two_findings_about_one_subject_are_one_difference(provider: Provider) -> None:
    """PostgreSQL writes a row once in a statement."""
    moment = datetime.now(UTC)
    one = Found(compared="books", cause="unsound", subject=new_id("esc"), since=moment, says="a", remedy="r")
    other = replace(one, says="b", since=moment - timedelta(days=1))
    reconciliation.replace_all(provider.engine, provider.name, "books", [one, other, one])
    found = provider.open()[one.subject]
    assert (found.says, found.since) == ("a; b", other.since)
