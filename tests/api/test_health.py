"""What machines ask an API process: life, readiness, metrics; with servers that are there, away or frozen."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from time import monotonic

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg.rows import TupleRow
from sqlalchemy import Engine, event
from temporalio.client import Client

from ledger.engine import connect
from models.states import State
from starter.api import health, problems
from starter.api.figures import Figures
from starter.api.health import Health
from starter.api.metrics import Metrics, Timed
from tests.api.service import Api, Tenant
from tests.gateway.sandbox_process import free_port
from tests.log_lines import lines, logged
from tests.market import Market
from tests.servers import Servers, soon

pytestmark = pytest.mark.anyio

NOBODY = "postgresql+psycopg://holdfast_api:x@127.0.0.1:{port}/holdfast"


@asynccontextmanager
async def asked(engine: Engine, temporal: str) -> AsyncIterator[httpx.AsyncClient]:
    """The three routes over these servers, with figures that are read at every scrape."""
    client = await Client.connect(temporal, lazy=True)
    app, metrics = FastAPI(), Metrics()
    problems.install(app)
    app.include_router(health.router)
    app.add_middleware(Timed, metrics=metrics)
    app.state.health = Health(engine, lambda: client, metrics, Figures(engine, keep_seconds=0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http
    app.state.health.close()


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What is logged meanwhile."""
    with logged() as stream:
        yield stream


@pytest.fixture
def engine(servers: Servers) -> Iterator[Engine]:
    """The engine that an API process asks such questions with; its connections can be told from those of others."""
    engine = connect(servers.endpoints.api_database_url, 4)

    @event.listens_for(engine, "connect")
    def name(connection: psycopg.Connection[TupleRow], _record: object) -> None:
        connection.execute("SET application_name = 'probing'")
        connection.commit()

    yield engine
    engine.dispose()


@contextmanager
def locked_out(servers: Servers) -> Iterator[None]:
    """Throw the engine above out of PostgreSQL and let it in again afterwards."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute("ALTER ROLE holdfast_api NOLOGIN")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'probing'")
        try:
            yield
        finally:
            connection.execute("ALTER ROLE holdfast_api LOGIN")


async def answers(http: httpx.AsyncClient, status: int) -> httpx.Response:
    """Ask whether it is ready until the answer has this status."""

    async def looked() -> httpx.Response | None:
        answer = await http.get("/readyz")
        return answer if answer.status_code == status else None

    found = await soon(looked)
    assert found is not None
    return found


async def test_a_process_lives_whatever_is_away() -> None:
    """It would not come back any healthier for being restarted."""
    async with asked(connect(NOBODY.format(port=free_port()), 1), f"127.0.0.1:{free_port()}") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_a_process_is_ready_while_both_servers_answer(engine: Engine, servers: Servers) -> None:
    async with asked(engine, servers.endpoints.temporal_address) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_watchers_may_ask_for_the_status_alone(engine: Engine, servers: Servers) -> None:
    async with asked(engine, servers.endpoints.temporal_address) as http:
        assert [(await http.head(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        assert (await http.delete("/healthz")).headers["Allow"] == "GET, HEAD"


async def test_a_process_is_not_ready_while_postgresql_is_away_and_is_again_afterwards(
    engine: Engine, servers: Servers, log: io.StringIO
) -> None:
    """The problem names which server it is and nothing of how it is reached. The log has it once."""
    async with asked(engine, servers.endpoints.temporal_address) as http:
        await answers(http, 200)
        with locked_out(servers):
            away = await answers(http, 503)
            assert away.headers["content-type"] == "application/problem+json"
            assert int(away.headers["retry-after"]) > 0
            assert (away.json()["code"], away.json()["missing"]) == ("unavailable", ["PostgreSQL"])
            assert "127.0.0.1" not in away.text
            assert "holdfast_api" not in away.text
        await answers(http, 200)
    assert [line["asked_for"] for line in lines(log) if line["event"] == "no answer"] == ["PostgreSQL"]


async def test_a_process_is_not_ready_while_temporal_is_away(engine: Engine) -> None:
    async with asked(engine, f"127.0.0.1:{free_port()}") as http:
        away = await http.get("/readyz")
        assert (away.status_code, away.json()["missing"]) == (503, ["Temporal"])


async def test_servers_that_accept_and_say_nothing_are_away_after_a_second() -> None:
    """Frozen is as bad as gone, and takes nobody's patience."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        async with asked(connect(NOBODY.format(port=port), 1), f"127.0.0.1:{port}") as http:
            began = monotonic()
            away = await http.get("/readyz")
            assert monotonic() - began < 3
            assert (away.status_code, away.json()["missing"]) == (503, ["PostgreSQL", "Temporal"])
            assert "PostgreSQL: no answer within 1 s" in away.json()["detail"]


@pytest.mark.parametrize(("revision", "status"), [("0009", 503), ("9999", 200)])
async def test_a_schema_must_be_as_new_as_the_program_and_may_be_newer(
    engine: Engine, servers: Servers, revision: str, status: int
) -> None:
    """Processes of before stay ready while the next version is rolled out: its migrations run first."""
    with closing(servers.owner()) as owner:
        ((current,),) = owner.execute("SELECT version_num FROM alembic_version").fetchall()
        owner.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        owner.commit()
        try:
            async with asked(engine, servers.endpoints.temporal_address) as http:
                answer = await http.get("/readyz")
        finally:
            owner.execute("UPDATE alembic_version SET version_num = %s", (current,))
            owner.commit()
    assert answer.status_code == status
    assert (revision in answer.text) == (status == 503)


async def test_a_flood_of_probes_asks_postgresql_once(engine: Engine, servers: Servers) -> None:
    """Two hundred at the same time wait for one answer; those that come right after get the one that is there."""
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    async with asked(engine, servers.endpoints.temporal_address) as http:
        began = monotonic()
        for _ in range(2):
            found = await asyncio.gather(*(http.get("/readyz") for _ in range(100)))
            assert {answer.status_code for answer in found} == {200}
        looked = [one for one in statements if "alembic_version" in one]
    assert 1 <= len(looked) <= 1 + (monotonic() - began)


async def test_metrics_show_the_figures_of_postgresql(market: Market, engine: Engine, servers: Servers) -> None:
    """An escrow that was made a moment ago is soon in them; what there is none of is there with 0."""
    async with asked(engine, servers.endpoints.temporal_address) as http:
        released = 'holdfast_escrows{mode="test",state="milestone_approved"}'
        before = value((await http.get("/metrics")).text, released)
        market.at(State.MILESTONE_APPROVED)

        async def counted() -> str:
            text = (await http.get("/metrics")).text
            return text if value(text, released) == before + 1 else ""

        text = await soon(counted)
    assert value(text, 'holdfast_settlements_total{currency="EUR",mode="test",outcome="release"}') >= 1
    assert value(text, 'holdfast_settled_minor_units_total{currency="EUR",mode="test",outcome="release"}') >= 150000
    assert value(text, 'holdfast_oldest_unknown_payout_seconds{mode="live"}') == 0
    assert value(text, 'holdfast_ledger_unbalanced_minor_units{currency="EUR"}') >= 0  # other tests tamper with theirs
    assert value(text, 'holdfast_figures_age_seconds{figures="backlog"}') < 60
    assert (value(text, "holdfast_postgres_up"), value(text, "holdfast_temporal_up")) == (1, 1)


async def test_metrics_are_served_while_postgresql_is_away_without_old_figures(
    engine: Engine, servers: Servers
) -> None:
    """What cannot be known is missing, not repeated; the process still tells of itself."""
    async with asked(engine, servers.endpoints.temporal_address) as http:
        assert "holdfast_outbox_events" in (await http.get("/metrics")).text
        with locked_out(servers):
            await answers(http, 503)
            scraped = await http.get("/metrics")
    assert scraped.status_code == 200
    assert value(scraped.text, "holdfast_postgres_up") == 0
    assert value(scraped.text, "process_start_time_seconds") > 0
    assert "holdfast_outbox_events" not in scraped.text
    assert "holdfast_escrows" not in scraped.text


async def test_requests_are_timed_by_route_and_unknown_ones_are_a_single_series(servers: Servers) -> None:
    """Neither a path nor a method that a caller makes up becomes a label."""
    async with asked(connect(NOBODY.format(port=free_port()), 1), f"127.0.0.1:{free_port()}") as http:
        await http.get("/healthz")
        for path in ("/wp-admin", "/v1/escrows/esc_1", "/x/y"):
            await http.get(path)
        await http.request("BREW", "/coffee")
        text = (await http.get("/metrics")).text
    assert value(text, count("GET", "/healthz", 200)) == 1
    assert value(text, count("GET", "other", 404)) == 3
    assert value(text, count("other", "other", 404)) == 1
    assert not {"wp-admin", "esc_1", "BREW", "coffee"} & set(text.replace('"', " ").replace("/", " ").split())


def test_a_running_api_counts_commands_by_name_and_outcome_and_no_metric_has_an_id(api: Api, tenant: Tenant) -> None:
    """Created once, funded without money: one accepted and one refused for lack of payment."""
    before = httpx.get(f"{api.address}/metrics", trust_env=False).text
    escrow = tenant.create()
    refused = tenant.alice.ask("POST", f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})
    assert refused.status_code == 402
    text = httpx.get(f"{api.address}/metrics", trust_env=False).text
    for name, outcome in (("create", "accepted"), ("fund", "payment_required")):
        series = f'holdfast_commands_total{{name="{name}",outcome="{outcome}"}}'
        assert value(text, series) == value(before, series) + 1
    assert value(text, count("POST", "/v1/escrows/{escrow}/fund", 402)) >= 1
    assert not [known for known in (tenant.id, escrow["id"], "alice", "bob") if known in text]
    assert httpx.get(f"{api.address}/readyz", trust_env=False).status_code == 200


def count(method: str, route: str, status: int) -> str:
    """The series that counts the requests of a route."""
    return f'holdfast_http_request_seconds_count{{method="{method}",route="{route}",status="{status}"}}'


def value(text: str, series: str) -> float:
    """What a series says in Prometheus's text format; 0 when it is not there."""
    found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{series} ")]
    return float(found[0]) if found else 0.0
