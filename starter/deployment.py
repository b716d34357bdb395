"""Workers of several builds side by side: Temporal's worker deployments, every worker of a process in one version.

Without ``HOLDFAST_BUILD_ID`` workers are unversioned. How to release: docs/upgrades.md. Why every workflow goes on with
the build that is current: docs/decisions/0021.
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerConfig, WorkerDeploymentConfig

DEPLOYMENT: Final = "holdfast"

_LOOK_EVERY: Final = timedelta(seconds=20)
_UNTIL_KNOWN: Final = timedelta(seconds=1)
_ANSWERS_WITHIN: Final = timedelta(seconds=10)

_log: Final = structlog.get_logger(__name__)


class Versioned(SimplePlugin):
    """Makes every worker that is made with a client one of this build, so that none can be forgotten.

    A build that lacks a task queue of the current one is not made current by Temporal.
    """

    def __init__(self, build_id: str) -> None:
        super().__init__("holdfast-version")
        self._version = WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add the version. Workflows go on with the current build: none of ours may wait for workers that are gone."""
        config = super().configure_worker(config)
        config["deployment_config"] = WorkerDeploymentConfig(
            version=self._version,
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
        )
        return config


def versioned(client: Client, build_id: str | None) -> Client:
    """The client on whose connection workers of a build are made; without a build the client as it is."""
    if not build_id:
        return client
    config = client.config()
    config["plugins"] = [*config["plugins"], Versioned(build_id)]
    return Client(**config)


async def report(client: Client, build_id: str | None, every: timedelta = _LOOK_EVERY) -> None:
    """Log whether a build takes work, and whenever that changes, until cancelled: an idle worker looks like a busy one.

    Without a build there is nothing to say.
    """
    told = None
    while build_id:
        standing = await _standing(client, build_id)
        if standing and standing != told:
            _tell(build_id, told := standing)
        await asyncio.sleep((every if told else _UNTIL_KNOWN).total_seconds())


async def _standing(client: Client, build_id: str) -> str | None:
    """How a build stands; None when that cannot be told now, be it that its workers have not asked for a task yet."""
    asked = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=DEPLOYMENT)
    try:
        answer = await client.workflow_service.describe_worker_deployment(asked, timeout=_ANSWERS_WITHIN)
    except RPCError as error:
        never = error.status in (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)
        return f"Temporal does not say whether it is current: {error.message}" if never else None
    routing = answer.worker_deployment_info.routing_config
    current, ramping = routing.current_deployment_version.build_id, routing.ramping_deployment_version.build_id
    return {current: "current", ramping: "ramping"}.get(build_id) or ("waiting" if current else "idle")


def _tell(build_id: str, standing: str) -> None:
    if standing == "current":
        _log.info("this build is current: it takes all work", build_id=build_id)
    elif standing == "ramping":
        _log.info("this build is ramping: it takes a share of the work", build_id=build_id)
    else:
        why = {
            "waiting": "another build is current",
            "idle": "no build is current, so that work goes to workers without HOLDFAST_BUILD_ID, if there are any",
        }.get(standing, standing)
        make = f"temporal worker deployment set-current-version --deployment-name {DEPLOYMENT} --build-id {build_id}"
        _log.warning("this build takes no work", build_id=build_id, why=why, to_make_it_current=make)
