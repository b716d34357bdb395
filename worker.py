"""The worker's composition root: settings → engine, gateway → activities → workers. No logic.

Two workers share a process: one for workflows and the books, one for the gateway, so that a slow provider cannot take
the threads that money needs.
"""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from activities.gateway import GatewayActivities
from activities.gateways.stripe import StripeGateway
from activities.ledger import LedgerActivities
from ledger.books import Books
from ledger.engine import connect
from models.policies import SpendPolicy
from settings import Settings, settings
from workflows.charge import ChargeWorkflow
from workflows.escrow import EscrowWorkflow
from workflows.payout import PayoutWorkflow
from workflows.timeouts import GATEWAY_TASK_QUEUE, TASK_QUEUE

# The workflow sandbox loads the workflow's module again for every escrow. Where images switch bytecode off it would be
# compiled each time, a third of what an escrow costs this process.
sys.dont_write_bytecode = False

READY = "holdfast worker ready"

# The default of 0 would interrupt activities at once; an orchestrator should grant a little more than this.
GRACE = timedelta(seconds=30)

WORKFLOWS = (EscrowWorkflow, PayoutWorkflow, ChargeWorkflow)


async def temporal_client() -> Client:
    """Connect to Temporal by the standard ``TEMPORAL_*`` variables."""
    return await Client.connect(**ClientConfig.load_client_connect_config(), data_converter=pydantic_data_converter)


def books_worker(client: Client, books: Books, gateway_name: str, slots: int) -> Worker:
    """Workflows and the ledger: as many activity slots as threads as pooled connections."""
    activities = LedgerActivities(books, gateway_name)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            activities.apply,
            activities.would_be_refused,
            activities.read_escrow,
            activities.begin_charge,
            activities.settle_charge,
        ],
        activity_executor=ThreadPoolExecutor(slots, thread_name_prefix="books"),
        max_concurrent_activities=slots,
        max_concurrent_local_activities=slots,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_cached_workflows=500,
        graceful_shutdown_timeout=GRACE,
    )


def gateway_worker(client: Client, activities: GatewayActivities, slots: int) -> Worker:
    """Calls to the payment provider, on their own task queue and threads."""
    return Worker(
        client,
        task_queue=GATEWAY_TASK_QUEUE,
        activities=[activities.charge, activities.transfer, activities.refund, activities.look_up, activities.find_out],
        activity_executor=ThreadPoolExecutor(slots, thread_name_prefix="gateway"),
        max_concurrent_activities=slots,
        graceful_shutdown_timeout=GRACE,
    )


def gateway(config: Settings) -> StripeGateway:
    """The payment gateway that the settings name."""
    if config.stripe_api_key is None or config.stripe_webhook_secret is None:
        raise SystemExit("HOLDFAST_STRIPE_API_KEY and HOLDFAST_STRIPE_WEBHOOK_SECRET must be set: see .env.example")
    return StripeGateway(
        api_key=config.stripe_api_key.get_secret_value(),
        api_base=config.stripe_api_base,
        webhook_secret=config.stripe_webhook_secret.get_secret_value(),
        timeout_seconds=config.gateway_timeout_seconds,
    )


async def serve(config: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what was begun."""
    if config.database_url is None:
        raise SystemExit("HOLDFAST_DATABASE_URL must be set: see .env.example, or run `holdfast up`")
    client = await temporal_client()
    engine = connect(config.database_url.get_secret_value(), config.worker_slots)
    provider = gateway(config)
    books = Books(engine, SpendPolicy(reserve=config.spend_reserve))
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with (
        books_worker(client, books, provider.name, config.worker_slots),
        gateway_worker(client, GatewayActivities(provider), config.worker_slots),
    ):
        print(READY, flush=True)  # noqa: T201 - whoever started us waits for this line
        await stop.wait()
    engine.dispose()


def main() -> None:
    """Run the worker: ``python -m worker``."""
    asyncio.run(serve(settings()))
    sys.stdout.flush()
    os._exit(0)  # the SDK's threads can crash a finalizing interpreter after all work is done


if __name__ == "__main__":
    main()
