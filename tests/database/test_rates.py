"""Exchange rates in the books: added once, never changed, and the right one in force for each tenant."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from psycopg import errors
from sqlalchemy import Engine, text

from ledger import rates, tenants
from models.errors import RefusedError
from models.exchange import Rate
from tests.builders import new_id
from tests.servers import Connection, Servers, eventually, one

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture
def engine(servers: Servers) -> Engine:
    """The program's own connections."""
    return servers.engine


@pytest.fixture
def tenant(engine: Engine) -> str:
    """A tenant of the test's own. Everyone's rates are everyone's: each test has currencies of its own for those."""
    return a_tenant(engine)


def a_tenant(engine: Engine) -> str:
    """A new tenant in test mode."""
    identifier = new_id("ten")
    tenants.create_tenant(engine, identifier, "Market", "USD")
    return identifier


def a_rate(base: str, quote: str, rate: str, as_of: date = TODAY, source: str = "bank") -> Rate:
    """A rate of today unless told otherwise."""
    return Rate(base=base, quote=quote, rate=Decimal(rate), as_of=as_of, source=source)


def in_force(engine: Engine, tenant: str | None, base: str, quote: str) -> str | None:
    """The figure in force."""
    rate = rates.newest(engine, tenant, base, quote)
    assert rate is None or (rate.base, rate.quote) == (base, quote)
    return None if rate is None else f"{rate.rate:f}"


def test_the_same_rate_again_writes_nothing(engine: Engine, tenant: str) -> None:
    """However it is written down; what is told of another day or by another is new."""
    rate = a_rate("EUR", "USD", "1.08")
    assert [rates.put_rate(engine, tenant, rate) for _ in range(2)] == [1, 0]
    assert rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.0800")) == 0
    assert rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.08", YESTERDAY)) == 1
    assert rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.08", source="another bank")) == 1


def test_a_rate_that_was_corrected_and_corrected_back_is_in_force_again(engine: Engine, tenant: str) -> None:
    """The last word on a day counts, also when it was said before."""
    for figure in ("1.08", "1.09", "1.08"):
        assert rates.put_rate(engine, tenant, a_rate("EUR", "USD", figure)) == 1
        assert in_force(engine, tenant, "EUR", "USD") == figure


def test_writers_at_the_same_moment_write_a_rate_once(
    engine: Engine, owner: Connection, app: Connection, tenant: str
) -> None:
    """Ten that are let go at once put the same rate, and one of them finds it new."""
    app.autocommit = True
    rate = a_rate("EUR", "USD", "1.08")
    owner.execute("LOCK TABLE exchange_rate IN SHARE MODE")
    with ThreadPoolExecutor(10) as pool:
        written = [pool.submit(rates.put_rate, engine, tenant, rate) for _ in range(10)]
        try:
            eventually(lambda: one(app, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 10)
        finally:
            owner.rollback()
    assert sum(writer.result() for writer in written) == 1


def test_the_newest_day_counts_in_whatever_order_rates_arrive(engine: Engine, tenant: str) -> None:
    """A rate of last week that comes late changes nothing."""
    rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.08"))
    rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.05", YESTERDAY))
    found = rates.newest(engine, tenant, "EUR", "USD")
    assert found == a_rate("EUR", "USD", "1.08")


def test_a_rate_the_other_way_round_serves_as_well(engine: Engine, tenant: str) -> None:
    """Of both ways the newer one counts, and of one day the one that was told as it is asked for."""
    rates.put_rate(engine, tenant, a_rate("USD", "EUR", "0.8", YESTERDAY))
    assert in_force(engine, tenant, "EUR", "USD") == "1.25"
    rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.2", YESTERDAY))
    assert in_force(engine, tenant, "EUR", "USD") == "1.2"
    rates.put_rate(engine, tenant, a_rate("USD", "EUR", "0.5"))
    assert in_force(engine, tenant, "EUR", "USD") == "2"


def test_baht_become_dollars_over_the_euro_by_everyones_rates(engine: Engine, tenant: str) -> None:
    """The ECB's table is against the euro; the cross is as old as its older leg."""
    told = [a_rate("EUR", "ISK", "148.9", YESTERDAY), a_rate("EUR", "IDR", "17487.21")]
    assert rates.put_rates(engine, told) == 2
    crossed = rates.newest(engine, tenant, "ISK", "IDR")
    assert crossed == a_rate("ISK", "IDR", "117.4426461", YESTERDAY)
    assert rates.newest(engine, None, "ISK", "IDR") == crossed


def test_a_tenants_own_rate_wins_over_everyones_for_that_tenant_alone(engine: Engine, tenant: str) -> None:
    """Directly, the other way round, and as a leg of a cross."""
    rates.put_rates(engine, [a_rate("EUR", "HUF", "395.1"), a_rate("EUR", "PLN", "4")])
    rates.put_rate(engine, tenant, a_rate("EUR", "HUF", "400", YESTERDAY))
    assert in_force(engine, tenant, "EUR", "HUF") == "400"
    assert in_force(engine, tenant, "HUF", "EUR") == "0.0025"
    assert in_force(engine, tenant, "PLN", "HUF") == "100"
    other = a_tenant(engine)
    assert in_force(engine, other, "EUR", "HUF") == "395.1"
    assert in_force(engine, other, "PLN", "HUF") == "98.775"


def test_without_a_rate_there_is_none(engine: Engine, tenant: str) -> None:
    """One leg of a cross is not enough; a currency to itself is always one."""
    rates.put_rates(engine, [a_rate("EUR", "MXN", "19.5654")])
    assert rates.newest(engine, tenant, "MXN", "VUV") is None
    assert rates.newest(engine, tenant, "EUR", "VUV") is None
    assert in_force(engine, tenant, "VUV", "VUV") == "1"


def test_the_list_shows_what_counts_for_the_tenant(engine: Engine, tenant: str) -> None:
    """Of each pair the newest, the tenant's own in place of everyone's, and no other tenant's."""
    rates.put_rates(engine, [a_rate("EUR", "ZMW", "28"), a_rate("EUR", "ZMW", "27", YESTERDAY)])
    rates.put_rates(engine, [a_rate("EUR", "TZS", "2800")])
    rates.put_rate(engine, tenant, a_rate("EUR", "TZS", "3000", YESTERDAY))
    rates.put_rate(engine, a_tenant(engine), a_rate("EUR", "TZS", "1", YESTERDAY))
    listed = [rate for rate in rates.listed(engine, tenant) if rate.quote in {"TZS", "ZMW"}]
    assert listed == [a_rate("EUR", "TZS", "3000", YESTERDAY), a_rate("EUR", "ZMW", "28")]


def test_nothing_of_a_table_is_written_when_one_rate_of_it_is_wrong(engine: Engine) -> None:
    """A rate of a day to come would be the newest until then; one of nothing to itself says nothing."""
    good = a_rate("EUR", "UGX", "4000")
    for wrong, says in (
        (a_rate("EUR", "USD", "1.08", TODAY + timedelta(days=3)), "a day to come"),
        (a_rate("EUR", "EUR", "1"), "both are EUR"),
        (a_rate("EUR", "USD", "0.0000000001"), "between 0.000000001 and 1000000000"),
        (a_rate("EUR", "USD", "1000000001"), "between 0.000000001 and 1000000000"),
    ):
        with pytest.raises(RefusedError, match=says) as refused:
            rates.put_rates(engine, [good, wrong])
        assert refused.value.refusal.code == "invalid_command"
    assert in_force(engine, None, "EUR", "UGX") is None


def test_a_test_tenants_days_to_come_are_counted_by_its_own_clock(engine: Engine, tenant: str) -> None:
    """A tenant that lives next month may write next month's rates."""
    ahead = a_rate("EUR", "USD", "1.08", TODAY + timedelta(days=30))
    with pytest.raises(RefusedError, match="a day to come"):
        rates.put_rate(engine, tenant, ahead)
    tenants.move_clock(engine, tenant, timedelta(days=30))
    assert rates.put_rate(engine, tenant, ahead) == 1


def test_an_unknown_tenant_has_no_rates(engine: Engine) -> None:
    with pytest.raises(RefusedError, match="there is no tenant"):
        rates.put_rate(engine, new_id("ten"), a_rate("EUR", "USD", "1.08"))


def test_the_hot_path_asks_nothing_between_a_currency_and_itself(app: Connection, tenant: str) -> None:
    """SQL answers NULL at once, and the answer of nothing is no rate."""
    assert one(app, "SELECT newest_rates(%s, 'USD', 'USD')", tenant) is None
    assert rates.pick(None, "USD", "USD") is None


def test_years_of_rates_are_looked_up_in_the_index(owner: Connection) -> None:
    """Without a scan or a sort, the tenant's and everyone's: it runs with every settlement in another currency."""
    owner.execute("SET LOCAL enable_seqscan = off")  # with the few rows of a test it would be cheaper
    plan = owner.execute("EXPLAIN SELECT * FROM newest_of_pair('ten_x', 'EUR', 'USD')").fetchall()
    lines = "\n".join(line for (line,) in plan)
    assert lines.count("Index Scan using exchange_rate_newest") == 2
    assert "Sort" not in lines


def test_a_rate_is_never_changed_or_removed(engine: Engine, owner: Connection, app: Connection, tenant: str) -> None:
    """Refused to the owner by a trigger, to the program for lack of right; so is a word on when it was recorded."""
    rates.put_rate(engine, tenant, a_rate("EUR", "USD", "1.08"))
    for statement in (b"UPDATE exchange_rate SET rate = 2", b"DELETE FROM exchange_rate", b"TRUNCATE exchange_rate"):
        with pytest.raises(errors.RestrictViolation, match="never changed or deleted"), owner.transaction():
            owner.execute(statement)
        with pytest.raises(errors.InsufficientPrivilege), app.transaction():
            app.execute(statement)
    with pytest.raises(errors.InsufficientPrivilege), app.transaction():
        app.execute(
            """INSERT INTO exchange_rate (base, quote, rate, as_of, source, recorded_at)
               VALUES ('EUR', 'USD', 1, now(), 'x', '2020-01-01')"""
        )


@pytest.mark.parametrize(
    "wrong", ["base = 'USD'", "base = 'eur'", "rate = 0", "rate = -1", "rate = 'NaN'", "rate = 1e10", "source = ''"]
)
def test_postgresql_refuses_what_is_no_rate(owner: Connection, wrong: str) -> None:
    """Past the program's own checks as well."""
    columns = {"base": "'EUR'", "quote": "'USD'", "rate": "1.08", "as_of": "now()", "source": "'bank'"}
    name, _, value = wrong.partition(" = ")
    columns[name] = value
    with pytest.raises(errors.CheckViolation):
        owner.execute(
            f"INSERT INTO exchange_rate ({', '.join(columns)}) VALUES ({', '.join(columns.values())})".encode()
        )


def test_figures_come_back_as_they_were_told(engine: Engine, tenant: str) -> None:
    """To the last of eighteen decimals, without a float in between."""
    told = a_rate("KWD", "IRR", "137215.123456789012345678")
    rates.put_rate(engine, tenant, told)
    assert rates.newest(engine, tenant, "KWD", "IRR") == told
    with engine.connect() as connection:
        figure = connection.execute(text("SELECT rate FROM exchange_rate WHERE tenant_id = :id"), {"id": tenant})
        assert figure.scalar_one() == told.rate
