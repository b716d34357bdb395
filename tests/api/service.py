"""A running API, over real HTTP, with real workers behind it; and tenants to ask it with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import httpx

from tests.gateway.sandbox_process import free_port
from tests.servers import Servers, eventually

_READY_SECONDS: Final = 60.0
# Longer than the API takes over anything.
_ANSWERS_SECONDS: Final = 60.0
DESTINATION: Final = "acct_bob"


@contextmanager
def api(servers: Servers, log: Path, **settings: str) -> Iterator["Api"]:
    """Start an API process for the servers; ``settings`` are further variables. It is stopped in the end."""
    port = free_port()
    address = {"HOLDFAST_API_HOST": "127.0.0.1", "HOLDFAST_API_PORT": str(port)}
    environment = {**os.environ, **servers.endpoints.environment(), **address, "PYTHONUNBUFFERED": "1", **settings}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "starter.api"], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    started = Api(f"http://127.0.0.1:{port}", servers, process, log)
    try:
        started.wait()
        yield started
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Api:
    """One API process."""

    address: str
    servers: Servers
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self._lives() or self.process.poll() is not None, within=_READY_SECONDS)
        assert self.process.poll() is None, self.log.read_text()

    def _lives(self) -> bool:
        try:
            return httpx.get(f"{self.address}/healthz", trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def tenant(self, **fields: Any) -> "Tenant":
        """A tenant of one's own, made as a platform makes it."""
        made = httpx.post(
            f"{self.address}/v1/tenants",
            json={"name": "Market", "reporting_currency": "EUR"} | fields,
            headers=self.bootstrap() | {"Idempotency-Key": uuid4().hex},
            trust_env=False,
        )
        assert made.status_code == httpx.codes.CREATED, made.text
        return Tenant(self, made.json())

    def bootstrap(self) -> dict[str, str]:
        """The header that makes tenants."""
        return {"Authorization": f"Bearer {self.servers.endpoints.bootstrap_secret}"}


@dataclass(frozen=True)
class Caller:
    """Asks with one key, for one party or for nobody in particular."""

    http: httpx.Client
    key: str
    actor: str | None = None

    def acting(self, actor: str) -> "Caller":
        """The same key, acting for somebody."""
        return Caller(self.http, self.key, actor)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> httpx.Response:
        """Send one request. What changes something gets a fresh Idempotency-Key unless it is given one."""
        sent = {"Authorization": f"Bearer {self.key}"}
        if self.actor:
            sent["Holdfast-Actor"] = self.actor
        if method != "GET":
            sent["Idempotency-Key"] = key or uuid4().hex
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, json=body, headers=sent | named)

    def get(self, path: str) -> Any:
        """The JSON of something that is there."""
        return self.done(self.ask("GET", path))

    def post(self, path: str, body: Any = None, **more: str) -> Any:
        """The JSON of something that has to be done."""
        return self.done(self.ask("POST", path, body, **more))

    def put(self, path: str, body: Any = None, **more: str) -> Any:
        """The JSON of something that has to be written."""
        return self.done(self.ask("PUT", path, body, **more))

    @staticmethod
    def done(answer: httpx.Response) -> Any:
        """The JSON of an answer that has to be a success."""
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


@dataclass(frozen=True)
class Tenant:
    """A tenant of an API; its callers use the test keys. alice buys, bob sells."""

    api: Api
    made: dict[str, str]
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """One connection pool for all its callers."""
        client = httpx.Client(base_url=self.api.address, timeout=_ANSWERS_SECONDS, trust_env=False)
        object.__setattr__(self, "http", client)

    @property
    def id(self) -> str:
        """Whose books the test keys are for."""
        return self.made["test_id"]

    @property
    def platform(self) -> Caller:
        """The platform itself."""
        return Caller(self.http, self.made["test_key"])

    @property
    def operator(self) -> Caller:
        """An operator of it."""
        return Caller(self.http, self.made["operator_test_key"])

    @property
    def alice(self) -> Caller:
        """The platform's key, for the buyer."""
        return self.platform.acting("buyer:alice")

    @property
    def bob(self) -> Caller:
        """The platform's key, for the seller."""
        return self.platform.acting("seller:bob")

    def ready(self) -> Self:
        """With a fee policy of 10 %, a seller who can be paid, and money in the buyer's wallet."""
        rates = {"release": "0.10", "refund": "0", "split": "0.10", "reversal": "0"}
        rules = [{"outcome": outcome, "category": "*", "rate": rate} for outcome, rate in rates.items()]
        self.platform.post("/v1/policies/fees", {"pin_at": "release", "rules": rules})
        self.platform.put("/v1/parties/bob", {"name": "Bob", "payout_destination": DESTINATION})
        top_up = {"amount": 10_000_000, "currency": "EUR", "payment_method": "pm_card_visa"}
        self.platform.post("/v1/wallets/alice/topups", top_up)
        return self

    def create(self, **fields: Any) -> Any:
        """Agree on the specification's escrow: EUR 5,000 in 1,500, 2,000 and 1,500."""
        milestones = [
            {"title": "Design & mockups", "amount": 150000, "due": "2026-12-01"},
            {"title": "Frontend", "amount": 200000},
            {"title": "Backend & testing", "amount": 150000},
        ]
        body = {
            "buyer": "alice", "seller": "bob", "amount": 500000, "currency": "EUR", "category": "web",
            "title": "Website redesign", "milestones": milestones,
            "release": {"mode": "auto", "review_window": "P14D"}, "metadata": {"order": "A-1"},
        }  # fmt: skip
        return self.platform.post("/v1/escrows", body | fields)

    def funded(self, **fields: Any) -> Any:
        """An escrow that is funded from the wallet."""
        escrow = self.create(**fields)
        return self.alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})

    def submitted(self, **fields: Any) -> Any:
        """An escrow whose first milestone is under review."""
        escrow = self.funded(**fields)
        self.bob.post(f"/v1/escrows/{escrow['id']}/start")
        return self.bob.post(f"/v1/milestones/{escrow['milestones'][0]['id']}/submit", {"evidence": []})
