"""The figures for monitoring: right over all tenants, telling nothing of one, and for the API's role too."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import Engine, text

from ledger import figures, tenants
from ledger.engine import connect
from models.commands import RecordPayout, SendPayout
from models.states import State
from tests.builders import new_id
from tests.market import Market
from tests.servers import Connection, Servers

Numbers = dict[tuple[str, ...], Decimal]


@pytest.fixture
def api(servers: Servers) -> Iterator[Engine]:
    """The engine of an API process: its role sees one tenant at a time."""
    engine = connect(servers.endpoints.api_database_url, 2)
    yield engine
    engine.dispose()


def numbers(read: Callable[[Engine], list[figures.Figure]], engine: Engine) -> Numbers:
    """The figures by name and labels."""
    return {(one.name, *one.labels): one.value for one in read(engine)}


def grown(before: Numbers, after: Numbers) -> Numbers:
    """By how much each figure has grown; other tests' tenants are counted as well."""
    by = {key: after.get(key, Decimal(0)) - before.get(key, Decimal(0)) for key in before | after}
    return {key: value for key, value in by.items() if value}


def test_totals_count_escrows_payouts_and_the_money_that_settlements_moved(market: Market, api: Engine) -> None:
    """Of 5,000 EUR, 1,500 are released: one settlement, one payout that is due, one escrow between milestones."""
    before = numbers(figures.totals, api)
    market.at(State.MILESTONE_APPROVED)
    assert grown(before, numbers(figures.totals, api)) == {
        ("escrows", "test", "milestone_approved"): 1,
        ("payouts", "test", "due"): 1,
        ("settlements", "test", "release", "EUR"): 1,
        ("settled", "test", "release", "EUR"): 150000,
    }


def test_live_money_and_rehearsals_are_counted_apart(market: Market, api: Engine) -> None:
    """An escrow of a live tenant is no escrow of a test tenant."""
    live = new_id("ten")
    tenants.create_tenant(market.engine, live, "Live", "EUR", live=True)
    before = numbers(figures.totals, api)
    market.create(tenant=live)
    assert grown(before, numbers(figures.totals, api)) == {("escrows", "live", "created"): 1}


def test_the_oldest_unknown_payout_has_the_age_of_its_event_in_real_time(
    market: Market, api: Engine, owner: Connection
) -> None:
    """A payout that is unknown since two hours is two hours old; one whose outcome is known has no age."""
    escrow = market.at(State.MILESTONE_APPROVED)
    market.do(SendPayout, escrow)
    market.do(RecordPayout, escrow, outcome="unknown")
    _long_ago(owner, "UPDATE event SET recorded_at = recorded_at - interval '2 hours' WHERE escrow_id = %s", escrow.id)
    age = numbers(figures.backlog, api)["oldest_unknown_payout", "test"]
    assert 7200 <= age < 7260
    market.do(RecordPayout, escrow, outcome="paid", reference="tr_1")
    assert numbers(figures.backlog, api).get(("oldest_unknown_payout", "test"), Decimal(0)) < 7200


def test_a_deadline_is_overdue_when_five_minutes_have_passed_on_its_tenants_clock(market: Market, api: Engine) -> None:
    """The review window ends; four minutes later nothing is overdue, six minutes later its deadline is."""
    escrow = market.at(State.MILESTONE_PENDING)
    due = min(one.due_at for one in escrow.deadlines)
    before = numbers(figures.backlog, api)
    for minutes, overdue in ((4, 0), (6, 1)):
        _set_clock(market, f"'{due.isoformat()}'::timestamptz + interval '{minutes} minutes'")
        late = grown(before, numbers(figures.backlog, api)).get(("overdue_deadlines", "test"), Decimal(0))
        assert late == overdue


def test_a_live_deadline_is_overdue_by_the_real_clock(market: Market, api: Engine, owner: Connection) -> None:
    """The same where the clock was never moved."""
    escrow = market.at(State.MILESTONE_PENDING)
    before = numbers(figures.backlog, api)
    owner.execute(
        "UPDATE deadline SET due_at = now() - interval '6 minutes' WHERE escrow_id = %s AND kind = 'auto_approve'",
        (escrow.id,),
    )
    owner.commit()
    assert grown(before, numbers(figures.backlog, api))["overdue_deadlines", "test"] == 1


def test_the_outbox_is_counted_and_its_oldest_event_has_an_age(market: Market, api: Engine, owner: Connection) -> None:
    """Every event waits until it is told; so does its number in the feed."""
    before = numbers(figures.backlog, api)
    escrow = market.create()
    after = numbers(figures.backlog, api)
    events = market.count("event", escrow)
    assert grown(before, after)[("outbox_waiting",)] == events == grown(before, after)[("unnumbered_events",)]
    _long_ago(owner, "UPDATE event SET recorded_at = recorded_at - interval '3 hours' WHERE id = %s", _oldest(market))
    assert numbers(figures.backlog, api)[("outbox_oldest",)] >= 10800


def test_the_gateways_events_and_webhooks_are_counted_while_they_wait_and_when_they_fail(
    market: Market, api: Engine, owner: Connection
) -> None:
    """What is applied, delivered or was given up days ago is no figure any more."""
    before = numbers(figures.backlog, api)
    market.create()
    owner.execute(
        """INSERT INTO gateway_event (provider, id, type, created, details, received_at, status, applied_at)
           SELECT 'stripe', %s || n, 'x', now(), '{}', now() - interval '1 hour',
                  (ARRAY['pending', 'refused', 'applied'])[n], CASE WHEN n > 1 THEN now() END
           FROM generate_series(1, 3) n""",
        (new_id("evt"),),
    )
    owner.execute(
        "INSERT INTO webhook_endpoint (id, tenant_id, url, events, secret) VALUES (%s, %s, 'https://x', '{*}', 'x')",
        (endpoint := new_id("whk"), market.tenant),
    )
    owner.execute(
        """INSERT INTO webhook_delivery (id, tenant_id, endpoint_id, event_id, sequence, status, next_attempt_at,
                                         finished_at, created_at)
           SELECT %s || n, %s, %s, (SELECT min(id) FROM event WHERE tenant_id = %s), n,
                  (ARRAY['pending', 'delivered', 'failed', 'failed'])[n], CASE WHEN n = 1 THEN now() END,
                  (ARRAY[NULL, now(), now(), now() - interval '2 days'])[n], now() - interval '1 hour'
           FROM generate_series(1, 4) n""",
        (new_id("whd"), market.tenant, endpoint, market.tenant),
    )
    owner.commit()
    after = numbers(figures.backlog, api)
    found = {
        key: value for key, value in grown(before, after).items() if key[0] in {"gateway_events", "webhook_deliveries"}
    }
    assert found == {
        ("gateway_events", "pending"): 1,
        ("gateway_events", "refused"): 1,
        ("webhook_deliveries", "pending"): 1,
        ("webhook_deliveries", "failed"): 1,
    }
    assert after[("gateway_oldest",)] >= 3600 <= after[("webhook_oldest",)]
    owner.execute("DELETE FROM gateway_event")
    owner.commit()


def test_books_that_do_not_balance_show_by_how_much(market: Market, api: Engine, servers: Servers) -> None:
    """Past all guards, one unit appears on one side: the figure of its currency is 1, and the others stay 0."""
    before = numbers(figures.unbalanced, api)
    entry = market.scalar("SELECT min(id) FROM entry WHERE tenant_id = :tenant")
    with servers.superuser("holdfast") as past:
        past.execute("SET session_replication_role = 'replica'")
        past.execute("UPDATE entry SET amount = amount + 1 WHERE id = %s", (entry,))
        try:
            off = grown(before, numbers(figures.unbalanced, api))
            assert {key: abs(value) for key, value in off.items()} == {("unbalanced", "EUR"): 1}
        finally:
            past.execute("UPDATE entry SET amount = amount - 1 WHERE id = %s", (entry,))


def test_what_is_not_reconciled_is_counted_by_cause_and_has_an_age(
    market: Market, api: Engine, owner: Connection
) -> None:
    """Open differences and corrections that wait; a round that failed reconciled nothing."""
    before = numbers(figures.reconciliation, api)
    correction = """INSERT INTO correction (id, difference_id, tenant_id, amount, currency, theirs, reason,
                        needs_approval, proposed_by) VALUES (%s, %s, %s, 5, 'EUR', 5, 'Because', true, 'olga')"""
    found = _difference(owner, "open"), _difference(owner, "healed")
    owner.execute(correction, (new_id("cor"), found[0], market.tenant))
    for ago, failed in (("2 hours", None), ("1 hour", "the provider was away")):
        owner.execute(
            """INSERT INTO reconciliation (id, provider, finished_at, failed)
               VALUES (%s, 'nobody', now() - %s::interval, %s)""",
            (new_id("rec"), ago, failed),
        )
    owner.commit()
    after = numbers(figures.reconciliation, api)
    assert grown(before, after)["differences", "provider", "missing_there"] == 1
    assert grown(before, after)[("corrections_waiting",)] == 1
    assert after[("oldest_difference",)] >= 864000
    assert 0 <= after[("reconciled",)] < 7260
    if ("reconciled",) not in before:
        assert after[("reconciled",)] >= 7200
    owner.execute(
        "UPDATE correction SET status = 'rejected', decided_by = 'x', decided_at = now() WHERE difference_id = %s",
        found[:1],
    )
    owner.execute("UPDATE difference SET status = 'healed', closed_at = now() WHERE id = %s", found[:1])
    owner.execute("DELETE FROM reconciliation WHERE provider = 'nobody'")
    owner.commit()
    assert not {"differences", "corrections_waiting"} & {
        name for name, *_ in grown(before, numbers(figures.reconciliation, api))
    }


def _difference(owner: Connection, status: str) -> str:
    """One of ten days ago."""
    found = new_id("dif")
    owner.execute(
        """INSERT INTO difference (id, provider, compared, cause, kind, subject, theirs, currency, since, says, remedy,
               status, closed_at)
           VALUES (%s, 'nobody', 'provider', 'missing_there', 'payout', %s, 5, 'EUR', now() - interval '10 days',
               '', '', %s, CASE WHEN %s <> 'open' THEN now() END)""",
        (found, new_id("pay"), status, status),
    )
    return found


@pytest.mark.parametrize("read", [figures.backlog, figures.reconciliation, figures.totals, figures.unbalanced])
def test_figures_name_no_tenant_escrow_or_party(
    market: Market, api: Engine, read: Callable[[Engine], list[figures.Figure]]
) -> None:
    """What the API's role learns past row-level security are numbers by state, outcome and currency."""
    escrow = market.at(State.MILESTONE_APPROVED)
    told = " ".join(label for one in read(api) for label in (one.name, *one.labels))
    assert told
    assert not {market.tenant, escrow.id, "alice", "bob"} & set(told.split())


def test_the_apis_role_still_sees_no_rows_of_any_tenant(market: Market, api: Engine) -> None:
    """The figures are a window, not a door."""
    market.create()
    with api.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM escrow")).scalar() == 0


def test_nobody_else_may_ask_for_the_figures(servers: Servers) -> None:
    """They are granted to the two roles of the program, not to everyone who can connect."""
    with servers.superuser("holdfast") as administrator:
        administrator.execute("CREATE ROLE stranger")
        try:
            administrator.execute("SET ROLE stranger")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                administrator.execute("SELECT * FROM total_figures()")
        finally:
            administrator.execute("RESET ROLE")
            administrator.execute("DROP ROLE stranger")


def test_the_schema_is_at_the_revision_that_this_program_needs(api: Engine) -> None:
    """The migrations that a process knows are the ones that the stack has run."""
    assert figures.schema_revision(api) == figures.NEEDED_REVISION


def _set_clock(market: Market, moment: str) -> None:
    with market.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE tenant SET clock_offset = extract(epoch FROM {moment} - now())::bigint WHERE id = :tenant"),
            {"tenant": market.tenant},
        )


def _oldest(market: Market) -> str:
    return str(market.scalar("SELECT event_id FROM outbox ORDER BY number LIMIT 1"))


def _long_ago(owner: Connection, update: str, identifier: str) -> None:
    """Nobody can change an event; the owner of the table, for once, lets its guard stand aside."""
    owner.execute("ALTER TABLE event DISABLE TRIGGER append_only")
    owner.execute(update.encode(), (identifier,))
    owner.execute("ALTER TABLE event ENABLE TRIGGER append_only")
    owner.commit()
