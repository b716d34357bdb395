"""The worker's composition root: settings → engine, gateway → activities → workers. No logic.

Workers share a process: one for workflows and the books, one each for the gateway, for exchange rates and for telling
the news, so that a slow provider cannot take the threads that money needs.
"""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from activities.channels.console import ConsoleChannel
from activities.channels.email import EmailChannel, MailServer
from activities.channels.port import Channel
from activities.gateway import GatewayActivities
from activities.gateway_events import GatewayEventActivities
from activities.gateways.stripe import StripeGateway
from activities.ledger import LedgerActivities
from activities.metrics import BooksMetrics
from activities.notifications import Courier, NotificationActivities
from activities.rate_sources.ecb import EcbSource
from activities.rate_sources.file import FileSource
from activities.rate_sources.port import RateSource
from activities.rates import RateActivities
from activities.reconciliation import ReconciliationActivities
from activities.screening import ScreeningActivities
from activities.screening_providers.blocklist import BlocklistProvider
from activities.screening_providers.declared import DeclaredProvider
from activities.screening_providers.port import ScreeningProvider
from activities.standing import Standing
from activities.webhooks import Postman, WebhookActivities
from ledger.books import Books
from ledger.engine import connect
from ledger.gateway_events import GatewayEvents
from ledger.keyring import Keyring
from ledger.outbox import Outbox
from ledger.posting import PostingQueue
from ledger.seals import Seals
from models.notifications import Contact
from models.policies import SpendPolicy
from settings import Settings, settings
from starter import logs, telemetry
from starter.delivery import DeliveryUnavailableError, ensure_delivery, ensure_gateway_events, ensure_webhooks
from starter.deployment import report, versioned
from starter.misuse import MisuseError
from starter.operating import groundwork
from starter.payloads import connected, read_keyring
from starter.schedules import SchedulesUnavailableError, ensure_reconciliation, ensure_schedules
from workflows.charge import ChargeWorkflow
from workflows.deliver import DeliverWorkflow
from workflows.escrow import EscrowWorkflow
from workflows.exchange_rates import ExchangeRatesWorkflow
from workflows.gateway_events import GatewayEventsWorkflow
from workflows.payout import PayoutWorkflow
from workflows.reconcile import DailyReconciliationWorkflow, ReconcileWorkflow
from workflows.screening import ScreenPartyWorkflow
from workflows.timeouts import (
    DELIVERY_LANES,
    GATEWAY_EVENTS_AT_ONCE,
    GATEWAY_EVENTS_LANES,
    GATEWAY_EVENTS_LEASE,
    GATEWAY_EVENTS_TASK_QUEUE,
    GATEWAY_TASK_QUEUE,
    NOTIFICATIONS_TASK_QUEUE,
    RATES_TASK_QUEUE,
    RATES_TIMEOUT,
    RECONCILIATION_CONNECTIONS,
    RECONCILIATION_LANES,
    RECONCILIATION_TASK_QUEUE,
    SCREENING_LANES,
    SCREENING_TASK_QUEUE,
    TASK_QUEUE,
    WEBHOOKS_CONNECTIONS,
    WEBHOOKS_LANES,
    WEBHOOKS_TASK_QUEUE,
)
from workflows.webhooks import WebhooksWorkflow

# The workflow sandbox loads the workflow's module again for every escrow. Where images switch bytecode off it would be
# compiled each time, a third of what an escrow costs this process.
sys.dont_write_bytecode = False

READY = "holdfast worker ready"

# The default of 0 would interrupt activities at once; an orchestrator should grant a little more than this.
GRACE = timedelta(seconds=30)

WORKFLOWS = (EscrowWorkflow, PayoutWorkflow, ChargeWorkflow, ExchangeRatesWorkflow, ScreenPartyWorkflow)


async def temporal_client(keys: Keyring) -> Client:
    """Connect to Temporal by the standard ``TEMPORAL_*`` variables; what it stores is encrypted."""
    return await connected(dict(ClientConfig.load_client_connect_config()), keys)


def books_worker(
    client: Client, books: Books, gateway_name: str, slots: int, metrics: BooksMetrics | None = None
) -> Worker:
    """Workflows and the ledger: as many activity slots as threads as pooled connections."""
    activities = LedgerActivities(books, gateway_name, metrics)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            activities.apply,
            activities.amount_due,
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


def rates_worker(client: Client, activities: RateActivities) -> Worker:
    """The daily reading of exchange rates, on a task queue and a thread of its own."""
    return Worker(
        client,
        task_queue=RATES_TASK_QUEUE,
        activities=[activities.refresh],
        activity_executor=ThreadPoolExecutor(1, thread_name_prefix="rates"),
        max_concurrent_activities=1,
        max_concurrent_activity_task_polls=1,
        graceful_shutdown_timeout=GRACE,
    )


def screening_worker(client: Client, activities: ScreeningActivities) -> Worker:
    """Asking who a party is, on its own task queue: a slow provider takes no thread from money."""
    return Worker(
        client,
        task_queue=SCREENING_TASK_QUEUE,
        activities=[activities.screen, activities.lifted],
        activity_executor=ThreadPoolExecutor(SCREENING_LANES, thread_name_prefix="screening"),
        max_concurrent_activities=SCREENING_LANES,
        max_concurrent_activity_task_polls=1,
        graceful_shutdown_timeout=GRACE,
    )


def notifications_worker(client: Client, activities: NotificationActivities) -> Worker:
    """Telling the news, workflow and all, on its own task queue: a slow mail server takes no thread from money."""
    return Worker(
        client,
        task_queue=NOTIFICATIONS_TASK_QUEUE,
        workflows=[DeliverWorkflow],
        activities=[activities.deliver],
        activity_executor=ThreadPoolExecutor(DELIVERY_LANES, thread_name_prefix="notifications"),
        max_concurrent_activities=DELIVERY_LANES,
        max_concurrent_activity_task_polls=1,
        max_cached_workflows=10,
        graceful_shutdown_timeout=GRACE,
    )


def webhooks_worker(client: Client, activities: WebhookActivities) -> Worker:
    """Posting webhooks, workflow and all, on its own task queue: a slow receiver takes no thread from money."""
    return Worker(
        client,
        task_queue=WEBHOOKS_TASK_QUEUE,
        workflows=[WebhooksWorkflow],
        activities=[activities.number, activities.post],
        activity_executor=ThreadPoolExecutor(WEBHOOKS_LANES + 1, thread_name_prefix="webhooks"),
        max_concurrent_activities=WEBHOOKS_LANES + 1,
        max_concurrent_activity_task_polls=1,
        max_cached_workflows=10,
        graceful_shutdown_timeout=GRACE,
    )


def gateway_events_worker(client: Client, ledger: LedgerActivities, activities: GatewayEventActivities) -> Worker:
    """Applying what the gateway tells, workflow and all, on its own task queue: it may ask the provider for long."""
    return Worker(
        client,
        task_queue=GATEWAY_EVENTS_TASK_QUEUE,
        workflows=[GatewayEventsWorkflow],
        activities=[
            activities.due_gateway_events,
            activities.judge_gateway_event,
            activities.settle_gateway_event,
            ledger.apply,
        ],
        activity_executor=ThreadPoolExecutor(GATEWAY_EVENTS_LANES, thread_name_prefix="gateway-events"),
        max_concurrent_activities=GATEWAY_EVENTS_LANES,
        max_concurrent_local_activities=GATEWAY_EVENTS_LANES,
        max_concurrent_activity_task_polls=1,
        max_cached_workflows=10,
        graceful_shutdown_timeout=GRACE,
    )


def reconciliation_worker(client: Client, ledger: LedgerActivities, activities: ReconciliationActivities) -> Worker:
    """Rounds of reconciliation, workflow and all, on their own task queue: comparing everything takes time."""
    return Worker(
        client,
        task_queue=RECONCILIATION_TASK_QUEUE,
        workflows=[DailyReconciliationWorkflow, ReconcileWorkflow],
        activities=[
            activities.begin_round,
            activities.read_statement,
            activities.compare_with_provider,
            activities.compare_with_workflows,
            activities.compare_with_themselves,
            activities.look_into,
            activities.being_looked_into,
            activities.finish_round,
            ledger.read_escrow,
        ],
        activity_executor=ThreadPoolExecutor(RECONCILIATION_LANES, thread_name_prefix="reconciliation"),
        max_concurrent_activities=RECONCILIATION_LANES,
        max_concurrent_local_activities=RECONCILIATION_LANES,
        max_concurrent_activity_task_polls=1,
        max_cached_workflows=10,
        graceful_shutdown_timeout=GRACE,
    )


def gateway_events(provider: StripeGateway, events: GatewayEvents, seals: Seals) -> GatewayEventActivities:
    """What looks into the gateway's events."""
    at_once, lease = GATEWAY_EVENTS_AT_ONCE, GATEWAY_EVENTS_LEASE
    return GatewayEventActivities(events, provider.records(), seals, at_once=at_once, lease=lease)


def channels(config: Settings) -> list[Channel]:
    """The channels that the settings name."""
    named: list[Channel] = [ConsoleChannel()] if config.notify_console else []
    if config.smtp_url:
        if config.smtp_from is None:
            raise SystemExit("HOLDFAST_SMTP_FROM must be set beside HOLDFAST_SMTP_URL: see .env.example")
        try:
            named.append(EmailChannel(MailServer.parse(config.smtp_url.get_secret_value(), config.smtp_from)))
        except ValueError as error:
            raise SystemExit(f"HOLDFAST_SMTP_URL, HOLDFAST_SMTP_FROM: {error}") from error
    return named


def rate_source(config: Settings) -> RateSource | None:
    """The source of exchange rates that the settings name, if they name one."""
    source = config.rates_source
    if not source:
        return None
    if not source.startswith(("http://", "https://")):
        return FileSource(Path(source))
    try:
        return EcbSource(source, RATES_TIMEOUT)
    except ValueError as error:
        raise SystemExit(f"HOLDFAST_RATES_SOURCE: {error}") from error


def screening_provider(config: Settings) -> ScreeningProvider:
    """Who is asked about parties: the list that the settings name, or nobody but the tenant."""
    return BlocklistProvider(Path(config.blocklist)) if config.blocklist else DeclaredProvider()


def keyring(config: Settings) -> Keyring:
    """The master keys that the settings name."""
    try:
        return read_keyring(config.keys)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def measured(config: Settings) -> CollectorRegistry:
    """The registry of metrics, which the settings may have served."""
    try:
        return telemetry.start(config)
    except MisuseError as error:
        raise SystemExit(str(error)) from error


def gateway(config: Settings) -> StripeGateway:
    """The payment gateway that the settings name."""
    if config.stripe_api_key is None:
        raise SystemExit("HOLDFAST_STRIPE_API_KEY must be set: see .env.example")
    return StripeGateway(
        api_key=config.stripe_api_key.get_secret_value(),
        api_base=config.stripe_api_base,
        timeout_seconds=config.gateway_timeout_seconds,
    )


async def ensure_lasting(client: Client, config: Settings) -> None:
    """Have everything there that is started by itself: schedules, and workflows that are never over."""
    try:
        await ensure_schedules(client, config)
        await ensure_reconciliation(client)
        await ensure_delivery(client)
        await ensure_webhooks(client)
        await ensure_gateway_events(client)
    except (SchedulesUnavailableError, DeliveryUnavailableError) as error:
        raise SystemExit(str(error)) from error


async def serve(config: Settings) -> None:
    """Work until SIGTERM or Ctrl-C, then finish what was begun."""
    if config.database_url is None:
        raise SystemExit("HOLDFAST_DATABASE_URL must be set: see .env.example, or run `holdfast up`")
    keys = keyring(config)
    metrics = BooksMetrics(measured(config))
    client = versioned(await temporal_client(keys), config.build_id)
    engine = connect(config.database_url.get_secret_value(), config.worker_slots)
    provider = gateway(config)
    spend, seals = SpendPolicy(reserve=config.spend_reserve), Seals(keys)
    books = Books(engine, spend, seals)
    rates = RateActivities(rate_source(config), engine)
    await ensure_lasting(client, config)
    tellers = connect(config.database_url.get_secret_value(), DELIVERY_LANES)
    screeners = connect(config.database_url.get_secret_value(), SCREENING_LANES)
    posters = connect(config.database_url.get_secret_value(), WEBHOOKS_CONNECTIONS)
    listeners = connect(config.database_url.get_secret_value(), GATEWAY_EVENTS_LANES)
    reconcilers = connect(config.database_url.get_secret_value(), RECONCILIATION_CONNECTIONS)
    posting = PostingQueue(posters)
    postman = Postman(posting, keys, allow_loopback=config.webhooks_allow_loopback)
    operator = Contact(party=None, email=config.operator_email)
    news = NotificationActivities(Courier(Outbox(tellers, keys), channels(config), operator))
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with (
        books_worker(client, books, provider.name, config.worker_slots, metrics),
        gateway_worker(client, GatewayActivities(provider), config.worker_slots),
        rates_worker(client, rates),
        screening_worker(client, ScreeningActivities(screening_provider(config), screeners, keys)),
        notifications_worker(client, news),
        webhooks_worker(client, WebhookActivities(posting, postman)),
        gateway_events_worker(
            client,
            LedgerActivities(Books(listeners, spend, seals), provider.name, metrics),
            gateway_events(provider, GatewayEvents(listeners), seals),
        ),
        reconciliation_worker(
            client,
            LedgerActivities(Books(reconcilers, spend, seals), provider.name, metrics),
            ReconciliationActivities(
                reconcilers, provider.name, provider.statement(), partial(Standing, client, reconcilers), seals
            ),
        ),
    ):
        print(READY, flush=True)  # noqa: T201 - whoever started us waits for this line
        looks = (report(client, config.build_id), groundwork.keep(client, config))
        beside = [asyncio.create_task(one) for one in looks]
        await stop.wait()
        for task in beside:
            task.cancel()
    engine.dispose()
    tellers.dispose()
    screeners.dispose()
    posters.dispose()
    listeners.dispose()
    reconcilers.dispose()


def main() -> None:
    """Run the worker: ``python -m worker``."""
    config = settings()
    logs.configure(config.log_format, config.log_level)
    asyncio.run(serve(config))
    sys.stdout.flush()
    os._exit(0)  # the SDK's threads can crash a finalizing interpreter after all work is done


if __name__ == "__main__":
    main()
