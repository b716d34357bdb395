"""The worker of the yardstick, with the settings of the real one: ``python -m benchmarks.nothing_worker``."""

import asyncio
import os
import signal

from temporalio.worker import PollerBehaviorAutoscaling, Worker

from benchmarks.nothing import TASK_QUEUE, NothingWorkflow
from settings import settings
from worker import GRACE, READY, keyring, temporal_client


async def _serve() -> None:
    client = await temporal_client(keyring(settings()))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[NothingWorkflow],
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_cached_workflows=500,
        graceful_shutdown_timeout=GRACE,
    ):
        print(READY, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
    os._exit(0)  # as the real worker ends
