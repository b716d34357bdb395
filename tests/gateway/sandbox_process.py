"""The sandbox as what it is in life: another process, reached over HTTP, that can be killed."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx

from activities.gateways.stripe import StripeGateway

API_KEY = "sk_test_sandbox"
WEBHOOK_SECRET = "whsec_sandbox"  # noqa: S105 - of a sandbox that lives as long as a test


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], Any], within: float = 10.0) -> Any:
    """Wait until the condition holds and return its value."""
    deadline = monotonic() + within
    while not (value := condition()):
        assert monotonic() < deadline, f"not true within {within} s"
        Event().wait(0.01)
    return value


class SandboxProcess:
    """One sandbox with its data file, and the tests' view on its books."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            *(sys.executable, "-m", "starter.sandbox", "--data", str(directory / "sandbox.sqlite")),
            *("--port", str(self.port), "--api-key", API_KEY, "--webhook-secret", WEBHOOK_SECRET, *options),
        ]
        self._http = httpx.Client(base_url=self.url, auth=(API_KEY, ""))
        self.start()

    def start(self) -> None:
        """Start, or start again on the same data, and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        eventually(self._is_up, within=30)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, as a supervisor would."""
        self._process.terminate()
        self._process.wait()

    def gateway(self, *, api_key: str = API_KEY, timeout_seconds: float = 10.0) -> StripeGateway:
        """Return the real adapter, pointed at this sandbox."""
        return StripeGateway(api_key=api_key, api_base=self.url, timeout_seconds=timeout_seconds)

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        """Queue a fault."""
        document = {"operation": operation, "fault": fault, **more}
        self._http.post("/sandbox/faults", json=document).raise_for_status()

    def behave(self) -> None:
        """Clear all faults."""
        self._http.delete("/sandbox/faults").raise_for_status()

    def plan(self, **plan: Any) -> None:
        """Set the fault plan (see docs/sandbox.md); without arguments everything goes well."""
        answer = self._http.put("/sandbox/plan", json=plan)
        assert answer.is_success, answer.text

    def refusal(self, text: str | bytes) -> str:
        """What the sandbox says against a fault plan."""
        answer = self._http.put("/sandbox/plan", content=text)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["message"])

    def injected(self) -> dict[str, int]:
        """Return how often what went wrong."""
        return dict(self._http.get("/sandbox/injected").json())

    def died(self) -> int:
        """Wait until it has ended by itself; answers its exit code."""
        return self._process.wait(10)

    def forget_keys(self) -> None:
        """Make it forget every key, as if a day had passed."""
        self._http.delete("/sandbox/keys").raise_for_status()

    def happen(self, name: str, **what: Any) -> dict[str, Any]:
        """Let something happen that nobody asked for (see ``starter.sandbox.happenings``); answers what it changed."""
        answer = self._http.post(f"/sandbox/happenings/{name}", json=what)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def posting(self, **how: Any) -> None:
        """Change how events are posted (see ``starter.sandbox.webhooks.Posting``)."""
        self._http.post("/sandbox/posting", json=how).raise_for_status()

    def events(self) -> list[dict[str, Any]]:
        """Return every event, oldest first."""
        return list(self._http.get("/sandbox/events").json())

    def journal(self, key: str) -> list[dict[str, Any]]:
        """Return every request that came with this key."""
        return list(self._http.get("/sandbox/journal", params={"key": key}).json())

    def transfers(self, key: str) -> list[dict[str, Any]]:
        """Return the transfers of a key from the books."""
        return self.list("transfers", transfer_group=key)

    def moved(self, reference: str) -> list[int]:
        """Return the amounts that an object moved on the platform's balance."""
        return [entry["amount"] for entry in self.list("balance_transactions", source=reference)]

    def list(self, path: str, **filters: str) -> list[dict[str, Any]]:
        """Return up to 100 objects of a list."""
        return list(self.get(f"/v1/{path}", limit="100", **filters).json()["data"])

    def get(self, path: str, **query: str) -> httpx.Response:
        """GET over plain HTTP, without the adapter."""
        return self._http.get(path, params=query)

    def post(self, path: str, data: dict[str, str], key: str | None = None) -> httpx.Response:
        """POST a form over plain HTTP, without the adapter."""
        return self._http.post(path, data=data, headers={} if key is None else {"Idempotency-Key": key})

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "the sandbox did not start"
        try:
            return self._http.get("/healthz").is_success
        except httpx.TransportError:
            return False
