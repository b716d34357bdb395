"""Every setting of Holdfast, read once from the environment (prefix ``HOLDFAST_``) or a ``.env`` file.

``.env.example`` documents each of them; a test holds the two together. Temporal's own connection is configured by
the standard ``TEMPORAL_*`` variables, which the SDK reads itself.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the collaborators are and how much work a process takes on. Frozen: nothing changes at run time."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(
        Path(".holdfast"), description="Directory of the embedded stack: data, logs and its own secrets."
    )
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL for the program's role; unset means the embedded server."
    )
    migration_url: SecretStr | None = Field(
        None, description="The same database for the role that owns the schema; only migrations use it."
    )
    api_database_url: SecretStr | None = Field(
        None, description="The same database for the role of the HTTP API, which sees one tenant at a time."
    )
    api_host: str = Field("127.0.0.1", description="Where the HTTP API listens.")
    api_port: int = Field(8420, ge=0, le=65535, description="The port of the HTTP API.")
    forwarded_allow_ips: str | None = Field(
        None,
        pattern=r"^[0-9A-Fa-f.:/*, ]+$",
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto the HTTP API believes: addresses or networks, "
        "separated by commas; unset means nobody's.",
    )
    api_requests_per_second: float = Field(
        100, gt=0, le=100_000, description="How many requests one key may make per second and API process, on average."
    )
    bootstrap_secret: SecretStr | None = Field(
        None, min_length=20, description="The bearer token that makes tenants; unset, none can be made over HTTP."
    )
    keys: SecretStr | None = Field(
        None,
        description="Master keys, as id:base64 of 32 bytes, separated by commas: the first encrypts and signs, all of "
        "them decrypt and verify.",
    )
    codec_secret: SecretStr | None = Field(
        None, min_length=20, description="Opens the codec endpoint for the Temporal UI; unset, there is none."
    )
    temporal_ui_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+$",
        description="Where the Temporal UI is: its pages may use the codec endpoint.",
    )
    webhooks_allow_loopback: bool = Field(
        False, description="Whether webhooks may go to this machine and in plain http, for development."
    )
    stripe_api_key: SecretStr | None = Field(None, description="Stripe secret key; unset means the embedded sandbox.")
    stripe_api_base: str | None = Field(None, description="Stripe's address, when it is not Stripe itself.")
    stripe_webhook_secret: SecretStr | None = Field(None, description="Signing secret of Stripe's webhook endpoint.")
    gateway_timeout_seconds: float = Field(5.0, gt=0, le=7, description="How long one call to the gateway may take.")
    spend_reserve: dict[str, int] = Field(
        {}, description='What wallets must keep, in minor units, where a tenant has no spend policy: {"USD": 500}.'
    )
    correction_limit: int = Field(
        0,
        ge=0,
        description="Up to how much an operator may correct alone what reconciliation found, in minor units whatever "
        "the currency (5000 is 50.00 EUR and 5,000 JPY); above it another operator has to approve.",
    )
    rates_source: str | None = Field(
        None,
        description="Where exchange rates are refreshed from daily: an http(s) address of a table in the ECB's XML "
        "format, or a file with one or with JSON; unset means that they are only put by hand.",
    )
    blocklist: str | None = Field(
        None,
        description="A file of parties and names not to deal with, CSV or JSON; unset means that screening a party "
        "leaves what its tenant declares as it is.",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="The mail server: smtp:// requires STARTTLS, smtps:// is TLS at once, smtp+plain:// is neither; "
        "unset means that no mail is sent.",
    )
    smtp_from: str | None = Field(None, description="The sender of all mail, such as Market <no-reply@market.example>.")
    operator_email: str | None = Field(None, description="Who is written to when operators have to know something.")
    notify_console: bool = Field(
        True, description="Whether everything that is told is also a line on the worker's log."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="How logs are written: auto is for people on a terminal, and JSON everywhere else."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is worth a line.")
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65534,
        description="Where a worker serves its metrics, with those of Temporal's SDK one port above; 0 is nowhere.",
    )
    build_id: str | None = Field(
        None,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99})?$",
        description="The build of this worker, where several run side by side; unset, workers are unversioned.",
    )
    worker_slots: int = Field(16, ge=1, le=200, description="Money activities, threads and connections per worker.")
    temporal_port: int = Field(0, ge=0, le=65535, description="Port of the embedded Temporal; 0 takes a free one.")
    temporal_ui_port: int = Field(
        0, ge=0, le=65535, description="Port of the embedded Temporal UI; 0 takes a free one."
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process. Raises ``pydantic.ValidationError`` naming the variable that is wrong."""
    return Settings()
