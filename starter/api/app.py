"""The HTTP API's composition root: settings → engine, keyring, Temporal → routes. Source: api.md."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from sqlalchemy import Engine, text
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from ledger.engine import connect
from ledger.keyring import Keyring
from ledger.seals import Seals
from settings import Settings
from starter.api import health, openapi, problems
from starter.api.boundary import Boundary
from starter.api.health import Health
from starter.api.metrics import Metrics, Timed
from starter.api.once import Limiter
from starter.api.routes import accounts, disputes, escrows, milestones
from starter.misuse import MisuseError
from starter.payloads import connected
from starter.sender import Sender

CONNECTIONS: Final = 20
# Shorter than callers wait: what is not known by then is answered 202, and asked for again.
PATIENCE: Final = timedelta(seconds=3)

_PROBES: Final = 2  # connections for health and figures, so that busy requests do not fail them

ROUTERS: Final = (health.router, accounts.router, escrows.router, milestones.router, disputes.router)

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
    keyring: Keyring
    limiter: Limiter
    bootstrap_secret: str | None
    temporal: Client
    everyones: Sender
    metrics: Metrics

    def sender(self, tenant: str) -> Sender:
        """Sends commands for one tenant."""
        return self.everyones.for_tenant(tenant)


def build(config: Settings) -> FastAPI:
    """The application. Raises ``MisuseError`` naming the setting that is missing or wrong."""
    database_url, keyring = _required(config)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine, probed = connect(database_url, CONNECTIONS), connect(database_url, _PROBES)
        # Temporal may be away when we start: reads work without it.
        temporal = await connected({**ClientConfig.load_client_connect_config(), "lazy": True}, keyring)
        app.state.holdfast = Holdfast(
            config=config,
            engine=engine,
            keyring=keyring,
            limiter=Limiter(config.api_requests_per_second),
            bootstrap_secret=config.bootstrap_secret.get_secret_value() if config.bootstrap_secret else None,
            temporal=temporal,
            everyones=Sender(temporal, engine, PATIENCE, seals=Seals(keyring)),
            metrics=metrics,
        )
        app.state.health = Health(probed, lambda: temporal, metrics)
        yield
        app.state.health.close()
        engine.dispose()
        probed.dispose()

    app = FastAPI(title="Holdfast", version=version("holdfast"), lifespan=lifespan, redoc_url=None)
    problems.install(app)
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Timed, metrics=metrics)
    app.add_middleware(Boundary)
    return app


def refuse_a_role_that_sees_all(engine: Engine) -> None:
    """Raise ``MisuseError`` where row-level security would not hold for the role that the API connects as."""
    with engine.connect() as connection:
        if connection.execute(text(_SEES_ALL)).scalar_one():
            raise MisuseError(
                "HOLDFAST_API_DATABASE_URL connects as a role that sees all tenants: give the API a role of its own, "
                "such as holdfast_api, which owns nothing (docs/architecture.md, 'Servers of your own')"
            )


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
