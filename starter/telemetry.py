"""What a worker tells the world about itself: Temporal's SDK into our logs, and two ports of metrics."""

import logging
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from settings import Settings
from starter.misuse import MisuseError

_FILTER: Final = TelemetryFilter(core_level="WARN", other_level="ERROR")


def start(config: Settings) -> CollectorRegistry:
    """Serve this process's metrics, if the settings name a port; answers the registry for those of one's own.

    Goes before the first client of Temporal, whose runtime it makes. Raises ``MisuseError`` when a port is taken.
    """
    port, host = config.worker_metrics_port, config.api_host
    shown = f"[{host}]" if ":" in host else host
    metrics = (
        PrometheusConfig(f"{shown}:{port + 1}", counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True)
        if port
        else None
    )
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"), append_target_to_name=False, prepend_target_on_message=False
    )
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    try:
        telemetry = TelemetryConfig(logging=LoggingConfig(_FILTER, forwarding), metrics=metrics)
        Runtime.set_default(Runtime(telemetry=telemetry))
        if port:
            start_http_server(port, host, registry)
    except (OSError, RuntimeError, ValueError) as error:
        raise MisuseError(
            f"HOLDFAST_WORKER_METRICS_PORT: no metrics can be served at {host}, ports {port} and {port + 1}: {error}"
        ) from error
    return registry
