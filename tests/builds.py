"""Workers of several builds side by side, and Temporal's own command line, by which operators make one current."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError, RPCStatusCode

from activities.gateway import GatewayActivities
from ledger.books import Books
from ledger.engine import connect
from starter.deployment import DEPLOYMENT, versioned
from tests.servers import soon
from tests.workers import gateway
from tests.workflow.scene import Scene, seals
from worker import books_worker, gateway_worker
from workflows.timeouts import GATEWAY_TASK_QUEUE, TASK_QUEUE

_SLOTS: Final = 8
_TEMPORAL: Final = Path(sys.executable).with_name("temporal")
_DONE: Final = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED


@asynccontextmanager
async def build(scene: Scene, build_id: str | None, *changed: type, gateway_too: bool = True) -> AsyncIterator[None]:
    """The workers of a build for the duration of a block; ``changed`` workflows stand in for ours of the same names."""
    engine = connect(scene.servers.endpoints.database_url, _SLOTS)
    provider = gateway(scene.servers.endpoints)
    client = with_workflows(versioned(scene.client, build_id), *changed)
    async with books_worker(client, Books(engine, seals=seals(scene.servers)), provider.name, _SLOTS):
        if gateway_too:
            async with gateway_worker(client, GatewayActivities(provider), _SLOTS):
                yield
        else:
            yield
    engine.dispose()


def with_workflows(client: Client, *changed: type) -> Client:
    """The client on whose connection workers have these workflows instead of ours of the same names."""

    def chosen(ours: Sequence[type] | None) -> Sequence[type]:
        names = {_name(one): one for one in changed}
        return [names.get(_name(one), one) for one in ours or ()]

    config = client.config()
    config["plugins"] = [*config["plugins"], SimplePlugin("changed-workflows", workflows=chosen)]
    return Client(**config)


def _name(kind: type) -> str:
    """A workflow's name, as ``@workflow.defn`` has left it."""
    return str(getattr(kind, "__temporal_workflow_definition").name)


async def cli(scene: Scene, *arguments: str) -> tuple[int, str]:
    """Run ``temporal`` against the scene's namespace, as documented; answers its exit code and what it printed."""
    where = ("--address", scene.servers.endpoints.temporal_address, "--namespace", scene.client.namespace)
    alone = ("--disable-config-file", "--disable-config-env", "--color", "never")
    process = await asyncio.create_subprocess_exec(
        str(_TEMPORAL), *arguments, *where, *alone, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def known(scene: Scene, build_id: str) -> None:
    """Wait until Temporal knows a build by both of its task queues."""

    async def seen() -> bool:
        return {TASK_QUEUE, GATEWAY_TASK_QUEUE} <= await task_queues(scene.client, build_id)

    await soon(seen)


async def task_queues(client: Client, build_id: str) -> set[str]:
    """The task queues on which Temporal knows a build's workers; none if it does not know the build yet."""
    version = WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id)
    asked = DescribeWorkerDeploymentVersionRequest(namespace=client.namespace, deployment_version=version)
    try:
        answer = await client.workflow_service.describe_worker_deployment_version(asked)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return set()
        raise
    return {queue.name for queue in answer.version_task_queues}


async def make_current(scene: Scene, build_id: str | None) -> None:
    """Make a build current as operators do, or the unversioned workers, and wait until every task queue knows of it."""
    target = ("--build-id", build_id) if build_id else ("--unversioned",)
    code, said = await set_current(scene, *target)
    assert code == 0, said

    async def everywhere() -> bool:
        asked = DescribeWorkerDeploymentRequest(namespace=scene.client.namespace, deployment_name=DEPLOYMENT)
        try:
            answer = await scene.client.workflow_service.describe_worker_deployment(asked)
        except RPCError as error:
            if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
                return False  # asked too often
            raise
        info = answer.worker_deployment_info
        current = info.routing_config.current_deployment_version.build_id
        return current == (build_id or "") and info.routing_config_update_state == _DONE

    await soon(everywhere)


async def set_current(scene: Scene, *target: str) -> tuple[int, str]:
    """``temporal worker deployment set-current-version``; answers its exit code and what it printed."""
    return await cli(
        scene, "worker", "deployment", "set-current-version", "--deployment-name", DEPLOYMENT, *target, "--yes"
    )


async def works_on(handle: WorkflowHandle[Any, Any]) -> str:
    """The build that completed a workflow's last task; empty for unversioned workers."""
    return (await handle.describe()).raw_description.workflow_execution_info.versioning_info.deployment_version.build_id
