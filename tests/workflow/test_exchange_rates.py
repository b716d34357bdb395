"""Rates come by themselves: a real Temporal Schedule, the real worker, a real file or HTTP server, and PostgreSQL."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleOverlapPolicy,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.rate_sources.ecb import EcbSource
from activities.rate_sources.file import FileSource
from activities.rate_sources.port import RateSource
from activities.rates import RateActivities
from ledger import rates
from models.exchange import RefreshResult
from settings import Settings
from starter.schedules import EXCHANGE_RATES, SchedulesUnavailableError, ensure_schedules
from tests.builders import new_id
from tests.gateway.sandbox_process import free_port
from tests.gateway.test_rate_sources import TABLE, publisher, sending
from tests.servers import Servers, soon
from tests.workers import own_namespace, pending, temporal
from worker import READY, rate_source, rates_worker
from workflows.exchange_rates import ExchangeRatesWorkflow
from workflows.timeouts import TASK_QUEUE

pytestmark = pytest.mark.anyio

TODAY: Final = datetime.now(UTC).date()


@pytest.fixture
async def client(servers: Servers, request: pytest.FixtureRequest) -> Client:
    """A Temporal namespace of the test's own, since a schedule belongs to a whole namespace."""
    name = re.sub(r"\W", "-", request.node.name)[:200]
    return await temporal((await own_namespace(servers, name)).endpoints)


@pytest.fixture
def engine(servers: Servers) -> Engine:
    """The program's own connections."""
    return servers.engine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that says what a euro is worth in ouguiyas today, which no other test asks for."""
    return a_table(tmp_path, MRU="43.21")


def a_table(directory: Path, **figures: str) -> Path:
    """A file of today's rates."""
    path = directory / "rates.json"
    path.write_text(json.dumps({"base": "EUR", "as_of": TODAY.isoformat(), "rates": figures}))
    return path


def named(source: Path | None) -> Settings:
    """Settings that name the source."""
    return Settings(rates_source=None if source is None else str(source))


@asynccontextmanager
async def working(client: Client, source: RateSource | None, engine: Engine) -> AsyncIterator[None]:
    """Workers for the refresh alone, as ``worker.py`` makes them."""
    async with (
        Worker(client, task_queue=TASK_QUEUE, workflows=[ExchangeRatesWorkflow]),
        rates_worker(client, RateActivities(source, engine)),
    ):
        yield


async def refreshing(client: Client) -> WorkflowHandle[Any, RefreshResult]:
    """Start a refresh without a schedule."""
    return await client.start_workflow(ExchangeRatesWorkflow.run, id=new_id("cmd"), task_queue=TASK_QUEUE)


async def refused(handle: WorkflowHandle[Any, RefreshResult]) -> ApplicationError:
    """The error that the refresh ended with."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    return failed.value.cause.cause


async def described(client: Client) -> ScheduleDescription:
    """The schedule as Temporal has it."""
    return await client.get_schedule_handle(EXCHANGE_RATES).describe()


async def scheduled(client: Client) -> list[str]:
    """The ids of every schedule of the namespace, as soon as there is one to be seen."""

    async def found() -> list[str]:
        return [one.id async for one in await client.list_schedules()]

    return await soon(found)


async def worth(engine: Engine, quote: str, figure: str) -> None:
    """Wait until everyone's euro is worth that much."""

    async def is_so() -> bool:
        rate = rates.newest(engine, None, "EUR", quote)
        return rate is not None and f"{rate.rate:f}" == figure

    await soon(is_so)


async def test_a_schedule_is_made_once_and_runs_at_once(client: Client, engine: Engine, file: Path) -> None:
    """However many workers start: one schedule, which has written the rates before its first day is over."""
    await asyncio.gather(*(ensure_schedules(client, named(file)) for _ in range(3)))
    async with working(client, FileSource(file), engine):
        await worth(engine, "MRU", "43.21")
        await ensure_schedules(client, named(file))
    assert await scheduled(client) == [EXCHANGE_RATES]
    found = await described(client)
    assert (found.info.num_actions, found.info.last_updated_at) == (1, None)


async def test_a_triggered_schedule_writes_what_is_new(client: Client, engine: Engine, tmp_path: Path) -> None:
    """The source is read anew each time; each run says beside its id what it is, and in its details what it brought."""
    file = a_table(tmp_path, MOP="8.7", MMK="2400")
    await ensure_schedules(client, named(file))
    async with working(client, FileSource(file), engine):
        await worth(engine, "MOP", "8.7")
        a_table(tmp_path, MOP="8.8", MMK="2400")

        async def over() -> bool:
            return not (await described(client)).info.running_actions

        await soon(over)
        await client.get_schedule_handle(EXCHANGE_RATES).trigger()
        await worth(engine, "MOP", "8.8")

        async def again() -> WorkflowHandle[Any, RefreshResult] | None:
            ran = [one async for one in client.list_workflows("WorkflowType = 'ExchangeRatesWorkflow'")]
            newest = max(ran, key=lambda one: one.start_time)
            handle = client.get_workflow_handle(newest.id, result_type=RefreshResult)
            return handle if len(ran) == 2 else None

        handle = await soon(again)
        assert handle is not None
        result = await handle.result()
        assert result == RefreshResult(source="rates.json", as_of=TODAY, rates=2, new=1)
        shown: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert shown.current_details == f"2 rates of {TODAY} from rates.json, 1 of them new"
        assert await (await handle.describe()).static_summary() == "daily refresh of exchange rates"


async def test_it_runs_after_the_bank_has_published_on_the_banks_own_clock(client: Client, file: Path) -> None:
    """16:30 in Frankfurt is 14:30 or 15:30 UTC: with the seasons, and every day."""
    await ensure_schedules(client, named(file))
    times = [one.astimezone(ZoneInfo("Europe/Berlin")) for one in (await described(client)).info.next_action_times]
    assert {(one.hour, one.minute) for one in times} == {(16, 30)}
    assert {later.date() - sooner.date() for sooner, later in pairwise(times)} == {timedelta(days=1)}


async def test_a_worker_that_starts_mends_the_times_and_leaves_a_pause_alone(client: Client, file: Path) -> None:
    """What the program says of the schedule is restored, what an operator decided stays."""
    await ensure_schedules(client, named(file))
    handle = client.get_schedule_handle(EXCHANGE_RATES)
    await handle.pause(note="the source is wrong")

    def at_midnight(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = known.description.schedule
        schedule.spec.calendars = [ScheduleCalendarSpec(comment="by hand")]
        return ScheduleUpdate(schedule)

    await handle.update(at_midnight)
    await ensure_schedules(client, named(file))
    schedule = (await described(client)).schedule
    assert [one.hour[0].start for one in schedule.spec.calendars] == [16]
    assert (schedule.state.paused, schedule.state.note) == (True, "the source is wrong")
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    assert schedule.policy.overlap == ScheduleOverlapPolicy.SKIP


async def test_without_a_source_nothing_is_scheduled_and_nothing_is_deleted(client: Client, file: Path) -> None:
    """Unset on one worker says nothing about the others."""
    await ensure_schedules(client, named(None))
    with pytest.raises(RPCError) as missing:
        await described(client)
    assert missing.value.status == RPCStatusCode.NOT_FOUND
    await ensure_schedules(client, named(file))
    await ensure_schedules(client, named(None))
    assert await scheduled(client) == [EXCHANGE_RATES]


async def test_a_schedule_that_cannot_be_kept_is_said_clearly(servers: Servers, file: Path) -> None:
    """Which schedule, where, and what Temporal said."""
    nowhere = await temporal(replace(servers.endpoints, temporal_namespace="nowhere"))
    with pytest.raises(SchedulesUnavailableError, match=r"exchange-rates cannot be kept in .* nowhere: NOT_FOUND"):
        await ensure_schedules(nowhere, named(file))


async def test_a_source_that_is_away_is_asked_until_it_answers(client: Client, engine: Engine) -> None:
    """A 503 and a dropped connection are retried; what was wrong can be seen meanwhile."""
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        if len(asked) == 1:
            sending("come back later", 503)(request)
        elif len(asked) > 2:
            sending(TABLE.replace("2026-11-20", TODAY.isoformat()))(request)

    with publisher(answer) as url:
        async with working(client, EcbSource(url, timedelta(seconds=5)), engine):
            result = await (await refreshing(client)).result()
    assert (result.source, result.as_of, result.rates) == ("127.0.0.1", TODAY, 3)
    assert len(asked) == 3


async def test_a_document_that_is_no_table_of_rates_is_not_read_again(client: Client, engine: Engine) -> None:
    """The run fails at once with what is wrong, for a person to see; the next day brings the next run."""
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        sending("<!DOCTYPE html><title>Sign in</title>")(request)

    with publisher(answer) as url:
        async with working(client, EcbSource(url, timedelta(seconds=5)), engine):
            error = await refused(await refreshing(client))
    assert (error.type, error.non_retryable, len(asked)) == ("RatesMalformed", True, 1)
    assert error.message.startswith("127.0.0.1: a document type declaration")


async def test_rates_of_a_day_to_come_are_refused(client: Client, engine: Engine, tmp_path: Path) -> None:
    """They would be in force until that day, and never stale."""
    file = tmp_path / "rates.json"
    file.write_text('{"base": "EUR", "as_of": "2999-01-01", "rates": {"NPR": "150"}}')
    async with working(client, FileSource(file), engine):
        error = await refused(await refreshing(client))
    assert (error.type, error.non_retryable) == ("RatesMalformed", True)
    assert error.message.startswith("rates.json: the rate from EUR to NPR is of 2999-01-01, a day to come")
    assert rates.newest(engine, None, "EUR", "NPR") is None


async def test_a_worker_without_a_source_leaves_it_to_one_that_has_one(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    """Settings may differ while they are rolled out; whoever looks sees what is missing."""
    handle = await refreshing(client)

    async def seen() -> str:
        return next((why for _, _, why in await pending(client, handle)), "")

    async with working(client, None, engine):
        assert "set HOLDFAST_RATES_SOURCE" in await soon(seen)
    async with working(client, FileSource(a_table(tmp_path, LAK="25000")), engine):
        assert (await handle.result()).new == 1


def worker_process(environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Start the worker as deployments do."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "worker"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


async def test_a_worker_that_starts_with_a_source_brings_rates(
    servers: Servers, engine: Engine, tmp_path: Path
) -> None:
    """``python -m worker`` with HOLDFAST_RATES_SOURCE set, and nothing else: schedule, workflow, activity, books."""
    apart = await own_namespace(servers, "worker-with-rates")
    source = {"HOLDFAST_RATES_SOURCE": str(a_table(tmp_path, BTN="95.5"))}
    log = tmp_path / "worker.log"
    process = worker_process({**apart.endpoints.environment(), **source}, log)
    try:
        await worth(engine, "BTN", "95.5")
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


async def test_a_source_that_cannot_be_reached_keeps_no_worker_from_working(servers: Servers, tmp_path: Path) -> None:
    """Without a network the worker starts all the same; only the refresh waits."""
    apart = await own_namespace(servers, "worker-without-network")
    log = tmp_path / "worker.log"
    source = {"HOLDFAST_RATES_SOURCE": f"http://127.0.0.1:{free_port()}/daily.xml"}
    process = worker_process({**apart.endpoints.environment(), **source}, log)
    client = await temporal(apart.endpoints)

    async def waits() -> bool:
        ran = [one async for one in client.list_workflows("WorkflowType = 'ExchangeRatesWorkflow'")]
        for one in ran:
            if any("cannot be read" in why for _, _, why in await pending(client, client.get_workflow_handle(one.id))):
                return READY in log.read_text()
        return False

    try:
        await soon(waits)
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def test_the_setting_names_an_address_or_a_file() -> None:
    """Unset and empty name nothing; what looks like an address and is none stops the worker with the setting's name."""
    assert rate_source(named(None)) is None
    assert rate_source(Settings(rates_source="")) is None
    assert isinstance(rate_source(Settings(rates_source="https://bank.example/daily.xml")), EcbSource)
    assert isinstance(rate_source(Settings(rates_source="/etc/holdfast/rates.json")), FileSource)
    with pytest.raises(SystemExit, match="HOLDFAST_RATES_SOURCE: "):
        rate_source(Settings(rates_source="https://"))
