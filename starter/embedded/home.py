"""The directory of an embedded stack: who runs in it, its secrets, and what it tells the processes that use it."""

import fcntl
import json
import os
import secrets
import shutil
import time
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

from starter.embedded.child import StackError

_LEAST_FREE_BYTES = 256 * 1024 * 1024
# SQLite opens no file whose path is longer than 512 bytes, wherever the process stands.
_LONGEST_PATH_BYTES = 480
# running() holds the lock for an instant to look at it.
_LOCK_PATIENCE_SECONDS = 0.5


class OccupiedError(StackError):
    """Another process runs a stack in the directory, or is about to."""


@dataclass(frozen=True)
class Endpoints:
    """What a process needs to reach the stack. Secret parts do not show in ``repr``."""

    database_url: str = field(repr=False)
    api_database_url: str = field(repr=False)
    migration_url: str = field(repr=False)
    keys: str = field(repr=False)
    bootstrap_secret: str = field(repr=False)
    codec_secret: str = field(repr=False)
    api: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui: str
    stripe_api_base: str
    stripe_api_key: str = field(repr=False)
    stripe_webhook_secret: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables that lead ``settings`` and the Temporal SDK of a child process to this stack."""
        return {
            "HOLDFAST_DATABASE_URL": self.database_url,
            "HOLDFAST_API_DATABASE_URL": self.api_database_url,
            "HOLDFAST_KEYS": self.keys,
            "HOLDFAST_BOOTSTRAP_SECRET": self.bootstrap_secret,
            "HOLDFAST_CODEC_SECRET": self.codec_secret,
            "HOLDFAST_TEMPORAL_UI_URL": self.temporal_ui,
            "HOLDFAST_MIGRATION_URL": self.migration_url,
            "HOLDFAST_WEBHOOKS_ALLOW_LOOPBACK": "true",
            "HOLDFAST_STRIPE_API_BASE": self.stripe_api_base,
            "HOLDFAST_STRIPE_API_KEY": self.stripe_api_key,
            "HOLDFAST_STRIPE_WEBHOOK_SECRET": self.stripe_webhook_secret,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.temporal_namespace,
        }


@dataclass(frozen=True)
class Secrets:
    """The secrets that a stack generates for itself, once."""

    postgres: str = field(repr=False, default_factory=lambda: secrets.token_hex(24))
    holdfast_owner: str = field(repr=False, default_factory=lambda: secrets.token_hex(24))
    holdfast_app: str = field(repr=False, default_factory=lambda: secrets.token_hex(24))
    holdfast_api: str = field(repr=False, default_factory=lambda: secrets.token_hex(24))
    keys: str = field(repr=False, default_factory=lambda: f"k1:{b64encode(secrets.token_bytes(32)).decode()}")
    bootstrap_secret: str = field(repr=False, default_factory=lambda: f"hf_bootstrap_{secrets.token_hex(24)}")
    codec_secret: str = field(repr=False, default_factory=lambda: f"hf_codec_{secrets.token_hex(24)}")
    stripe_api_key: str = field(repr=False, default_factory=lambda: f"sk_test_{secrets.token_hex(24)}")
    stripe_webhook_secret: str = field(repr=False, default_factory=lambda: f"whsec_{secrets.token_hex(24)}")


class Home:
    """A stack's directory. Everything but ``acquire`` wants the lock held."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.logs = self.root / "logs"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Create the directory if need be and take its lock. Raises ``StackError`` when either is impossible."""
        if len(os.fsencode(self.root)) > _LONGEST_PATH_BYTES:
            raise StackError(f"The path of the directory is longer than {_LONGEST_PATH_BYTES} bytes: {self.root}")
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"{self.root} cannot be used as the stack's directory: {error.strerror}. "
                "Choose one that you may write to with HOLDFAST_HOME."
            ) from error
        self._lock = self._locked(descriptor)

    @property
    def held(self) -> bool:
        """Whether we hold the lock."""
        return self._lock is not None

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sign(self) -> None:
        """Leave our process id in the lock, for whoever is refused. Raises ``OSError`` when the disk is full."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def check_space(self) -> None:
        """Raise ``StackError`` when the disk is all but full: a database that starts there stops soon after."""
        free = shutil.disk_usage(self.root).free
        if free < _LEAST_FREE_BYTES:
            raise StackError(f"Only {free >> 20} MiB are free on the disk of {self.root}; the stack wants 256 MiB.")

    def secrets(self) -> Secrets:
        """Return the secrets, generated at the first call. Raises ``StackError`` when they were lost or damaged.

        What an earlier release did not know yet is generated now, and kept from then on.
        """
        path = self.root / "secrets.json"
        try:
            known = json.loads(path.read_text())
            whole = Secrets(**known)
            if asdict(whole) != known:
                self._write(path, json.dumps(asdict(whole)))
            return whole
        except FileNotFoundError:
            if (self.root / "postgres").exists():
                raise StackError(f"{path} is gone, and with it the passwords of the database beside it.") from None
        except (ValueError, TypeError, OSError) as error:
            raise StackError(f"{path} cannot be read: {error}") from error
        generated = Secrets()
        self._write(path, json.dumps(asdict(generated)))
        return generated

    def announce(self, endpoints: Endpoints) -> None:
        """Tell other processes how to reach the stack."""
        self._write(self.root / "stack.json", json.dumps(asdict(endpoints), indent=2))

    def withdraw(self) -> None:
        """Take the announcement back. Raises ``OSError`` when the disk does not let us."""
        (self.root / "stack.json").unlink(missing_ok=True)

    def announced(self) -> Endpoints | None:
        """Return what the running stack announced; ``None`` while it starts or stops, and when there is none."""
        try:
            return Endpoints(**json.loads((self.root / "stack.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _locked(self, descriptor: int) -> int:
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                pid = os.read(descriptor, 20).decode() or "unknown"
                os.close(descriptor)
                raise OccupiedError(self._occupied(pid))
            time.sleep(0.02)
        return descriptor

    def _occupied(self, pid: str) -> str:
        endpoints = self.announced()
        where = f"its Temporal UI is at {endpoints.temporal_ui}" if endpoints else "it is starting or stopping"
        return f"A stack already runs in {self.root} (pid {pid}; {where}). Use that one, stop it, or set HOLDFAST_HOME."

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Write a file that only we may read, whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(text)
        draft.replace(path)


def running(home: Path) -> Endpoints | None:
    """Return the endpoints of the live stack in ``home``, or ``None``. Its lock decides, not a file left over."""
    place = Home(home)
    try:
        descriptor = os.open(place.root / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else place.announced()
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
