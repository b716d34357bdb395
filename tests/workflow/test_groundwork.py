"""What ``repair`` needs before it looks at escrows: a namespace where they can start, and somebody who works there."""

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from models.states import State
from settings import Settings
from starter.embedded.child import StackError
from starter.operating import groundwork
from starter.operating.groundwork import Ground
from tests.log_lines import lines, logged
from tests.servers import Servers, soon
from tests.workers import Workers
from tests.workflow.scene import Scene
from workflows.visibility import SEARCH_ATTRIBUTES

pytestmark = pytest.mark.anyio


async def test_what_a_namespace_lacks_is_told_with_the_commands_that_make_it(
    servers: Servers,
) -> None:
    """Nothing would start there, and half of a repair is worse to read than one message."""
    address = servers.endpoints.temporal_address
    with pytest.raises(StackError, match="no namespace nowhere") as told:
        await groundwork.check_namespace(await Client.connect(address, namespace="nowhere"))
    assert "temporal operator namespace create --namespace nowhere --retention" in str(told.value)
    client = await Client.connect(address, namespace="empty")
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace="empty", workflow_execution_retention_period=Duration(seconds=86400))
    )
    with pytest.raises(StackError, match="lacks search attributes") as told:
        await groundwork.check_namespace(client)
    for name, kind in SEARCH_ATTRIBUTES.items():
        assert f"search-attribute create --namespace empty --name {name} --type {kind}" in str(told.value)


async def test_what_workers_make_when_they_start_is_made_again_and_only_what_is_missing(alone: Scene) -> None:
    """A second look finds all of it; who has no worker is told so until one asks for work."""
    config = Settings(rates_source="https://rates.example")
    await groundwork.check_namespace(alone.client)
    missing = await groundwork.missing_ground(alone.client, config)
    assert {(one.kind, one.name) for one in missing} == {
        *(("workflow", name) for name in ("deliver", "webhooks", "gateway-events")),
        *(("schedule", name) for name in ("daily-reconciliation", "exchange-rates")),
    }
    await groundwork.lay(alone.client, config, missing)
    assert await groundwork.missing_ground(alone.client, config) == []
    await alone.client.get_workflow_handle("deliver").terminate("somebody's mistake")
    assert await groundwork.missing_ground(alone.client, config) == [Ground("workflow", "deliver")]
    [idle] = await groundwork.remarks(alone.client, alone.servers.engine, config)
    assert idle.startswith("No worker asks for work on the task queue holdfast")
    with Workers(alone.servers):
        await alone.at(State.FUNDED)
        assert await groundwork.remarks(alone.client, alone.servers.engine, config) == []


async def test_a_worker_that_works_on_brings_back_what_temporal_lost_and_says_so_once(alone: Scene) -> None:
    """Workflows and schedules, without anybody's repair; while Temporal is away it says that once, and goes on."""
    config = Settings(rates_source="https://rates.example")
    nowhere = await Client.connect(alone.servers.endpoints.temporal_address, namespace="nowhere")

    async def whole() -> bool:
        return await groundwork.missing_ground(alone.client, config) == []

    async def said() -> bool:
        return "['deliver']" in stream.getvalue().replace('"', "'")

    with logged() as stream:
        often = timedelta(milliseconds=20)
        keeping = [asyncio.create_task(groundwork.keep(one, config, often)) for one in (alone.client, nowhere)]
        await soon(whole)
        await alone.client.get_workflow_handle("deliver").terminate("somebody's mistake")
        await soon(whole)
        await soon(said)
        for one in keeping:
            assert one.cancel()
        await asyncio.wait(keeping)
    told = [line for line in lines(stream) if line["level"] == "warning"]
    assert [set(one["names"]) for one in told if "names" in one] == [
        {"deliver", "webhooks", "gateway-events", "daily-reconciliation", "exchange-rates"},
        {"deliver"},
    ]
    assert ["nowhere" in one["why"] for one in told if "why" in one] == [True]
