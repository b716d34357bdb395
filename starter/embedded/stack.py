"""The embedded stack: PostgreSQL, Temporal, the payment sandbox, a worker and the API, as children of this process.

with Stack(Path(".holdfast"), progress=print) as endpoints: ...
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx

from starter.embedded import postgres, temporal_server
from starter.embedded.child import Child, Command, StackError
from starter.embedded.children import Children
from starter.embedded.home import Endpoints, Home, Secrets, running
from starter.embedded.ports import Ports
from starter.embedded.service import Service

__all__ = ["Endpoints", "Stack", "StackError", "running"]

WORKER_READY = "holdfast worker ready"
_READY_SECONDS = 60.0
_KILLS_ON_THE_WAY_UP = 3
_WORKER_GRACE_SECONDS = 35.0  # a little more than the worker gives its activities
_SANDBOX_GRACE_SECONDS = 8.0
_API_GRACE_SECONDS = 20.0  # a little more than it gives its requests
_SUPERVISION_SECONDS = 0.1
# Alembic keeps the migration it is running in the module, so that two stacks of one process take turns.
_MIGRATING = threading.Lock()
_STOP_ORDER = ("api", "worker", "sandbox", "temporal", "initdb", "postgres")


class Stack:
    """Everything Holdfast needs, in one directory and on ports of 127.0.0.1; as a context manager it starts and stops.

    ``progress`` is called with one line for a person, from any thread. A port of 0 takes a free one and keeps it. The
    commands replace what is run for the worker and the sandbox, whose arguments are appended to its own. The sandbox
    posts its signed events to ``webhook_url``, or to the API if there is one, and misbehaves as the file ``fault_plan``
    says (docs/sandbox.md).
    """

    def __init__(
        self,
        home: Path,
        *,
        progress: Callable[[str], None],
        worker: bool = True,
        api: bool = False,
        api_port: int = 0,
        temporal_port: int = 0,
        temporal_ui_port: int = 0,
        worker_command: Sequence[str] | None = None,
        sandbox_command: Sequence[str] | None = None,
        webhook_url: str | None = None,
        fault_plan: Path | None = None,
    ) -> None:
        self._home = Home(home)
        self._progress = progress
        self._with_worker = worker
        self._with_api = api
        self._configured = {
            "postgres": 0,
            "temporal": temporal_port,
            "temporal_ui": temporal_ui_port,
            "sandbox": 0,
            "api": api_port,
        }
        self._worker_argv = tuple(worker_command or _module("worker"))
        self._sandbox_argv = tuple(sandbox_command or _module("starter.sandbox"))
        self._children = Children(self._home.root / "children.json")
        self._ports = Ports(self._home.root / "ports.json")
        self._webhook_url = webhook_url
        self._fault_plan = ("--fault-plan", str(fault_plan.absolute())) if fault_plan else ()
        self._services: list[Service] = []
        self._guard = threading.RLock()

    def __enter__(self) -> Endpoints:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, ready: Callable[[], None] = lambda: None) -> Endpoints:
        """Start everything and return when it works. Raises ``StackError``, after which nothing is left running.

        ``ready`` is called when it works, before others are told: whoever hears of it may ask for its end at once.
        """
        self._home.acquire()
        try:
            endpoints = self._bring_up()
            ready()
            self._home.announce(endpoints)
            return endpoints
        except OSError as error:
            self.stop()
            raise StackError(f"The stack in {self._home.root} cannot start: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in order, PostgreSQL last, and give the directory free. Harmless when nothing runs."""
        self._children.close()
        with self._guard:
            if not self._home.held:
                return
            with suppress(OSError):  # a failing disk must not keep us from stopping the servers that use it
                self._home.withdraw()
            self._stop_children()
            self._services.clear()
            self._ports.release()
            self._home.release()

    def supervise(self, stop_event: threading.Event) -> None:
        """Start again whatever dies, on the same ports, until ``stop_event`` is set or the stack is stopped."""
        while not stop_event.wait(_SUPERVISION_SECONDS):
            with self._guard:
                if not self._home.held:
                    return
                for service in self._services:
                    service.look_after(self._children, self._progress)

    def _bring_up(self) -> Endpoints:
        self._home.withdraw()
        self._home.check_space()
        self._home.sign()
        self._children.open()
        postgres.stop_leftovers(self._home.root / "postgres", self._progress)
        self._children.stop_leftovers(self._progress)
        ports, secrets = self._ports.take(self._configured), self._home.secrets()
        endpoints = _endpoints(ports, secrets)
        self._start_servers(endpoints, ports, secrets)
        if self._with_worker:
            self._progress("Starting the worker.")
            self._start_worker(endpoints)
        if self._with_api:
            self._progress("Starting the API.")
            self._start(self._api(endpoints))
        return endpoints

    def _start_servers(self, endpoints: Endpoints, ports: dict[str, int], secrets: Secrets) -> None:
        self._progress("Starting PostgreSQL, Temporal and the payment sandbox.")
        codec = f"{endpoints.api}/codec" if self._with_api else None
        temporal = temporal_server.service(self._home, ports["temporal"], ports["temporal_ui"], codec)
        sandbox = self._sandbox(endpoints, ports["sandbox"])
        with ThreadPoolExecutor(max_workers=3) as pool:
            self._all_or_none(
                pool,
                lambda: self._start_database(endpoints, ports["postgres"], secrets),
                lambda: self._start(temporal),
                lambda: self._start(sandbox),
            )

    def _all_or_none(self, pool: Executor, *steps: Callable[[], None]) -> None:
        """Run the steps side by side; when one fails, stop the children, so that the others end at once too."""
        futures: list[Future[None]] = [pool.submit(step) for step in steps]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            self._stop_children()
            raise

    def _stop_children(self) -> None:
        self._children.close()
        for name in _STOP_ORDER:
            self._children.stop(name)

    def _start_database(self, endpoints: Endpoints, port: int, secrets: Secrets) -> None:
        from ledger.keyring import Keyring  # noqa: PLC0415
        from ledger.migrate import upgrade  # noqa: PLC0415 -- SQLAlchemy and Alembic load while Temporal starts

        postgres.initialise(self._home, secrets, self._children)
        self._start(postgres.service(self._home, port, secrets, self._progress))
        postgres.provision(port, secrets)
        with _MIGRATING:
            upgrade(endpoints.migration_url, keys=Keyring.parse(endpoints.keys))

    def _start_worker(self, endpoints: Endpoints) -> None:
        """Start the worker. One that is killed on its way up gets another chance; one that fails by itself does not."""
        for _ in range(_KILLS_ON_THE_WAY_UP):
            try:
                return self._start(self._worker(endpoints))
            except StackError:
                child = self._children.get("worker")
                if child is None or child.ending() != signal.SIGKILL.name:
                    raise
                self._progress("The worker was killed on its way up; starting it again.")
        return self._start(self._worker(endpoints))

    def _start(self, service: Service) -> None:
        service.start(self._children)
        self._services.append(service)

    def _sandbox(self, endpoints: Endpoints, port: int) -> Service:
        # Not as arguments: everyone on the machine can see those.
        keys = {"SANDBOX_API_KEY": endpoints.stripe_api_key, "SANDBOX_WEBHOOK_SECRET": endpoints.stripe_webhook_secret}
        ours = f"{endpoints.api}/v1/gateways/stripe/webhook" if self._with_api else None
        webhook_url = self._webhook_url or ours
        webhooks = ("--webhook-url", webhook_url) if webhook_url else ()
        books = ("--data", str(self._home.root / "sandbox.db"))
        command = Command(
            name="sandbox",
            argv=(*self._sandbox_argv, *books, "--port", str(port), *webhooks, *self._fault_plan),
            log=self._home.logs / "sandbox.log",
            env=_environment(keys),
            stop=((signal.SIGTERM, _SANDBOX_GRACE_SECONDS),),
        )
        return Service(command, ready=lambda _: _healthy(endpoints.stripe_api_base), ready_within=_READY_SECONDS)

    def _worker(self, endpoints: Endpoints) -> Service:
        command = Command(
            name="worker",
            argv=self._worker_argv,
            log=self._home.logs / "worker.log",
            # Unversioned: nobody would make a build of its own current here.
            env=_environment({**endpoints.environment(), "HOLDFAST_BUILD_ID": ""}),
            stop=((signal.SIGTERM, _WORKER_GRACE_SECONDS),),
        )
        return Service(command, ready=_says_ready, ready_within=_READY_SECONDS)

    def _api(self, endpoints: Endpoints) -> Service:
        address = {"HOLDFAST_API_HOST": "127.0.0.1", "HOLDFAST_API_PORT": endpoints.api.rpartition(":")[2]}
        command = Command(
            name="api",
            argv=_module("starter.api"),
            log=self._home.logs / "api.log",
            env=_environment({**endpoints.environment(), **address}),
            stop=((signal.SIGTERM, _API_GRACE_SECONDS),),
        )
        return Service(command, ready=lambda _: _healthy(endpoints.api), ready_within=_READY_SECONDS)


def _endpoints(ports: dict[str, int], secrets: Secrets) -> Endpoints:
    return Endpoints(
        database_url=postgres.url(postgres.APP, secrets.holdfast_app, ports["postgres"]),
        api_database_url=postgres.url(postgres.API, secrets.holdfast_api, ports["postgres"]),
        migration_url=postgres.url(postgres.OWNER, secrets.holdfast_owner, ports["postgres"]),
        keys=secrets.keys,
        bootstrap_secret=secrets.bootstrap_secret,
        codec_secret=secrets.codec_secret,
        api=f"http://127.0.0.1:{ports['api']}",
        temporal_address=f"127.0.0.1:{ports['temporal']}",
        temporal_namespace=temporal_server.NAMESPACE,
        temporal_ui=f"http://127.0.0.1:{ports['temporal_ui']}",
        stripe_api_base=f"http://127.0.0.1:{ports['sandbox']}",
        stripe_api_key=secrets.stripe_api_key,
        stripe_webhook_secret=secrets.stripe_webhook_secret,
    )


def _module(name: str) -> tuple[str, ...]:
    # -P: a file of that name in the directory where the user happens to stand is not ours.
    return (sys.executable, "-P", "-m", name)


def _environment(ours: dict[str, str]) -> dict[str, str]:
    """Return the variables of a Python child: our code, no Temporal profile of the user's, no proxy in between."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), inherited.get("PYTHONPATH"))))
    direct = dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(filter(None, ("127.0.0.1", inherited.get("NO_PROXY")))))
    python = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TEMPORAL_CONFIG_FILE": os.devnull}
    return {**inherited, **direct, **python, **ours}


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _says_ready(child: Child) -> bool:
    return WORKER_READY in child.output().splitlines()
