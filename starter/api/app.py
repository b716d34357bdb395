"""The HTTP API's composition root: settings → engine, keyring, Temporal → routes. Source: http-contract.md."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final

import psycopg
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from ledger.engine import connect
from ledger.keyring import Keyring
from ledger.seals import Seals
from settings import Settings
from starter.api import codec, health, openapi, problems
from starter.api.boundary import AT_ONCE, Boundary
from starter.api.health import Health
from starter.api.metrics import Metrics, Timed
from starter.api.names import Names
from starter.api.once import Limiter
from starter.api.routes import (
    accounts,
    clock,
    commands,
    disputes,
    escrows,
    exchange_rates,
    gateways,
    keys,
    milestones,
    parties,
    payouts,
    policies,
    projects,
    records,
    reports,
    wallets,
    webhooks,
)
from starter.misuse import MisuseError
from starter.payloads import connected
from starter.sender import Sender

CONNECTIONS: Final = 20
# Shorter than callers wait: what is not known by then is answered 202, and asked for again.
PATIENCE: Final = timedelta(seconds=3)
ONE_TRY: Final = timedelta(seconds=10)

_PROBES: Final = 2  # connections for health and figures, so that busy requests do not fail them
_DOORS: Final = 4  # and for who asks, so that a tenant whose requests wait in PostgreSQL keeps nobody else outside
_SENDING: Final = 32  # threads in which commands are prepared and their outcomes read

ROUTERS: Final = (
    health.router, accounts.router, escrows.router, milestones.router, disputes.router, gateways.router,
    parties.router, wallets.router, policies.router, policies.questions, exchange_rates.router, payouts.router,
    records.router, reports.router, clock.router, keys.router, commands.router, projects.router, projects.wallet,
    webhooks.router,
)  # fmt: skip

_SEES_ALL: Final = """
SELECT rolsuper OR rolbypassrls OR EXISTS (
    SELECT FROM pg_policies WHERE policyname = 'every_tenant' AND current_user = ANY (roles))
    OR EXISTS (SELECT FROM pg_class WHERE relname = 'escrow' AND relowner = pg_roles.oid)
FROM pg_roles WHERE rolname = current_user
"""


@dataclass
class Holdfast:
    """What routes reach through ``app.state.holdfast``."""

    config: Settings
    engine: Engine
    doors: Engine
    keyring: Keyring
    limiter: Limiter
    bootstrap_secret: str | None
    temporal: Client
    everyones: Sender
    metrics: Metrics
    names: Names
    moves_real_money: bool

    def sender(self, tenant: str) -> Sender:
        """Sends commands for one tenant."""
        return self.everyones.for_tenant(tenant)


def build(config: Settings) -> FastAPI:
    """The application. Raises ``MisuseError`` naming the setting that is missing or wrong."""
    database_url, keyring = _required(config)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine, probed = connect(database_url, CONNECTIONS, ping=True), connect(database_url, _PROBES)
        doors, names = connect(database_url, _DOORS, ping=True), Names()
        for pool in (engine, doors):
            event.listen(pool, "connect", _refuse_a_role_that_sees_all)
        # A request that waits in PostgreSQL, or for a connection, has a thread: as many as there may be requests.
        current_default_thread_limiter().total_tokens = AT_ONCE
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_SENDING, thread_name_prefix="sending"))
        await run_in_threadpool(_check, engine)
        # Temporal may be away when we start: reads work without it.
        temporal = await connected({**ClientConfig.load_client_connect_config(), "lazy": True}, keyring)
        app.state.holdfast = Holdfast(
            config=config,
            engine=engine,
            doors=doors,
            keyring=keyring,
            limiter=Limiter(config.api_requests_per_second),
            bootstrap_secret=config.bootstrap_secret.get_secret_value() if config.bootstrap_secret else None,
            temporal=temporal,
            everyones=Sender(temporal, engine, PATIENCE, seals=Seals(keyring), one_try=ONE_TRY),
            metrics=metrics,
            names=names,
            moves_real_money=_moves_real_money(config),
        )
        app.state.health = Health(probed, lambda: temporal, metrics)
        yield
        app.state.health.close()
        names.close()
        engine.dispose()
        doors.dispose()
        probed.dispose()

    app = FastAPIOffline(  # its pages load nothing from elsewhere
        title="Holdfast",
        version=version("holdfast"),
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirection would name the host that the request claims
        generate_unique_id_function=openapi.operation_id,
    )
    problems.install(app)
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    if config.codec_secret:
        origins = [config.temporal_ui_url] if config.temporal_ui_url else []
        app.include_router(codec.router(keyring, config.codec_secret.get_secret_value(), origins))
    app.add_middleware(Timed, metrics=metrics)
    app.add_middleware(Boundary)
    return app


def _refuse_a_role_that_sees_all(connection: psycopg.Connection, _record: object) -> None:
    """Looked at on every new connection: without row-level security nothing would keep tenants apart."""
    found = connection.execute(_SEES_ALL).fetchone()
    connection.rollback()
    if found is None or found[0]:
        raise MisuseError(
            "HOLDFAST_API_DATABASE_URL connects as a role that sees all tenants: give the API a role of its own, "
            "such as holdfast_api, which owns nothing (docs/architecture.md, 'Servers of your own')"
        )


def _moves_real_money(config: Settings) -> bool:
    """Whether the gateway's key is a live one. Test keys and test clocks have no business there."""
    key = config.stripe_api_key.get_secret_value() if config.stripe_api_key else ""
    return key.startswith(("sk_live_", "rk_live_"))


def _check(engine: Engine) -> None:
    """Connect once, so that a wrong role ends the process at its start. PostgreSQL may be away for now."""
    with suppress(OperationalError), engine.connect():
        pass


def _required(config: Settings) -> tuple[str, Keyring]:
    if config.api_database_url is None or config.keys is None:
        missing = [
            name
            for name, value in (("HOLDFAST_API_DATABASE_URL", config.api_database_url), ("HOLDFAST_KEYS", config.keys))
            if value is None
        ]
        raise MisuseError(f"{' and '.join(missing)} must be set: see .env.example, or run `holdfast up`")
    try:
        keyring = Keyring.parse(config.keys.get_secret_value())
    except ValueError as error:
        raise MisuseError(f"HOLDFAST_KEYS: {error}") from error
    return config.api_database_url.get_secret_value(), keyring
