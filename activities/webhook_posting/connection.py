"""One POST to an address that was checked: the connection goes to it, and the name is only what is asked for there.

All of it has one deadline, however slowly the other side takes and gives. Redirects are not followed, no proxy is used,
nothing of the environment is read.
"""

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import httpcore

from models.destinations import Destination

Resolve = Callable[[str, int], Sequence[str]]

_READ_AT_MOST: Final = 4096
_PART_BYTES: Final = 1024
_RESOLVERS: Final = 32


class UnreachableError(Exception):
    """There was no answer of HTTP; the message says why, and nothing of what the other side said."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, and the header ``Retry-After``."""

    status: int
    retry_after: str | None


class SystemResolver:
    """Names as the machine resolves them, each within ``seconds``: its own limit is far longer."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of the name. Raises ``UnreachableError``."""
        asked: Future[Sequence[str]] = self._threads.submit(_look_up, host, port)
        try:
            return asked.result(self._seconds)
        except FutureTimeoutError:
            asked.cancel()
            raise UnreachableError("the name of its host was not resolved in time") from None
        except (OSError, UnicodeError):
            raise UnreachableError("the name of its host does not resolve") from None


def _look_up(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def post(
    destination: Destination,
    addresses: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    seconds: int,
    trust: ssl.SSLContext,
) -> Answer:
    """Post to the first of the addresses (which were judged) that can be reached; certificates are for the name.

    Raises ``UnreachableError``.
    """
    deadline = monotonic() + seconds
    url = httpcore.URL(
        scheme=destination.scheme.encode(),
        host=destination.host.encode(),
        port=destination.port,
        target=destination.target.encode(),
    )
    all_headers = {"Host": destination.authority, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    backend = _Pinned(addresses, destination.port, deadline)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=trust, max_connections=1, network_backend=backend) as pool,
            pool.stream(
                "POST", url, headers=[(a.encode(), b.encode()) for a, b in all_headers.items()], content=body
            ) as got,
        ):
            _read_some(got)
            return Answer(got.status, _header(got, b"retry-after"))
    except (httpcore.TimeoutException, TimeoutError):
        raise UnreachableError(f"no answer within {seconds} seconds") from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(f"its certificate is not valid: {error.verify_message[:100]}") from None
    except (ssl.SSLError, httpcore.ProtocolError):
        raise UnreachableError("what it said is neither TLS nor HTTP as it should be") from None
    except (OSError, httpcore.NetworkError) as error:
        said = str(error) if isinstance(error, httpcore.NetworkError) else type(error).__name__
        raise UnreachableError(f"no connection: {said}") from None


def _read_some(response: httpcore.Response) -> None:
    """A receiver should not find that we hung up; what it says is of no interest, and of no length."""
    taken = 0
    try:
        for part in response.iter_stream():
            taken += len(part)
            if taken >= _READ_AT_MOST:
                return
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError):
        return  # the status is what counts, and that was said


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


class _Pinned(httpcore.NetworkBackend):
    """Connects to what was judged, whatever host is asked for."""

    def __init__(self, addresses: Sequence[str], port: int, deadline: Any) -> None:
        self._addresses = addresses
        self._port = port
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        timeout: Any = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Connect to the first address that takes the connection."""
        last: OSError = TimeoutError()
        for number, address in enumerate(self._addresses):
            # One that swallows everything leaves the others their share of the time.
            share = (self._deadline - monotonic()) / (len(self._addresses) - number)
            try:
                if share <= 0:
                    break
                return _Stream(socket.create_connection((address, self._port), share), self._deadline)
            except OSError as error:
                last = error
        if isinstance(last, TimeoutError):
            raise httpcore.ConnectTimeout
        raise httpcore.ConnectError(type(last).__name__)


class _Stream(httpcore.NetworkStream):
    """A socket whose every operation ends by the deadline."""

    def __init__(self, connected: socket.socket, deadline: Any) -> None:
        self._socket = connected
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: Any = None) -> bytes:  # noqa: ARG002
        """Read what is there."""
        try:
            self._hurry()
            return self._socket.recv(min(max_bytes, _PART_BYTES))
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        except OSError as error:
            raise httpcore.ReadError(type(error).__name__) from None

    def write(self, buffer: bytes, timeout: Any = None) -> None:  # noqa: ARG002
        """Write all of it. Who has answered before it was there is heard: httpcore reads on after a ``WriteError``."""
        left = memoryview(buffer)
        try:
            while left:
                self._hurry()
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise httpcore.WriteTimeout from None
        except OSError as error:
            raise httpcore.WriteError(type(error).__name__) from None

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: Any = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Speak TLS from here on."""
        self._hurry()
        try:
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return _Stream(wrapped, self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Nothing that httpcore has to know."""
        return None

    def _hurry(self) -> None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
