"""One call to an endpoint: to the address that was checked and no other, in bounded time, by a valid certificate."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from activities.webhook_posting.connection import SystemResolver, UnreachableError
from activities.webhooks import Postman
from tests.database.webhook_towns import Town, deliveries, number, postman, queue, register
from tests.market import KEYS
from tests.receiver import Receiver

NAME = "hooks.example.com"


def called(town: Town, url: str, man: Postman) -> tuple[str, str | None]:
    """What became of the first event for an endpoint: delivered or pending, and why."""
    made = register(town, url)
    town.create()
    number(town)
    assert man.post_next()
    first = deliveries(town, made)[0]
    return first.status, first.last_error


def port_of(receiver: Receiver) -> int:
    """Where it listens."""
    return int(receiver.url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", False), ("127.1", False), ("0x7f.1", False), ("2130706433", False), ("0177.0.0.1", False),
        ("[::1]", False), ("[::ffff:127.0.0.1]", False), ("localhost", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens there
        ("①②⑦.⓪.⓪.①", False), ("[::ffff:127.0.0.1]", True), ("0.0.0.0", True),  # noqa: S104
        ("169.254.169.254", True),
        ("10.0.0.1", True), ("[64:ff9b::7f00:1]", True),
    ],
)  # fmt: skip
def test_edge_45_at_delivery_an_address_that_is_not_public_is_refused_however_it_is_written(
    town: Town, receiver: Receiver, host: str, loopback: bool
) -> None:
    """As the machine resolves it: no connection is made, the attempt has failed and says why."""
    man = Postman(queue(town), KEYS, allow_loopback=loopback)
    status, why = called(town, f"https://{host}:{port_of(receiver)}/", man)
    assert status == "pending"
    assert why is not None
    assert "not public" in why
    assert receiver.arrived == []


def test_edge_45_a_name_that_leads_elsewhere_the_next_moment_is_called_where_it_was_checked(
    town: Town, receiver: Receiver
) -> None:
    """Rebinding: it is looked up once, and the connection goes to that answer; a later answer is judged anew."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    man = postman(town, resolve=rebinding)
    url = f"http://{NAME}:{port_of(receiver)}/"
    assert called(town, url, man) == ("delivered", None)
    assert asked == [NAME]
    assert receiver.arrived[0].headers["Host"] == f"{NAME}:{port_of(receiver)}"
    for _ in range(2):
        status, why = called(town, url, man)
        assert status == "pending"
        assert "not public" in (why or "")
    assert len(receiver.arrived) == 1


def test_edge_45_a_redirect_to_a_private_address_is_not_followed(town: Town, receiver: Receiver) -> None:
    """Nor any other: it is a failure like any status that is not 2xx."""
    receiver.answer = (307, {"Location": f"{receiver.url}/private"}, b"")
    assert called(town, receiver.url, postman(town)) == (
        "pending", "it answered with HTTP status 307, which is not followed",
    )  # fmt: skip
    assert [one.path for one in receiver.arrived] == ["/"]


def test_a_proxy_of_the_environment_is_not_used(
    town: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would look the name up once more, and connect wherever that leads."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert called(town, receiver.url, postman(town)) == ("delivered", None)


@contextmanager
def server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Something that takes connections, one at a time, and does as it likes until the event is set."""
    over, listening = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection, over)
                except OSError:
                    continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def drip(endless: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """An answer that never ends, a byte every few milliseconds."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        while not over.wait(0.01):
            connection.sendall(endless)

    return serve


@pytest.mark.parametrize("endless", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_receiver_that_is_endlessly_slow_is_left_in_time(town: Town, endless: bytes, scheme: str) -> None:
    """A byte now and then keeps no call alive beyond its limit, in TLS neither."""
    with server(drip(endless)) as address:
        began = monotonic()
        status, why = called(town, f"{scheme}://{address}/", postman(town, call_seconds=1))
        assert monotonic() - began < 6
    assert status == "pending"
    assert why


def test_an_endless_body_is_not_read(town: Town) -> None:
    """The status was said, and that is what counts: the call ends after a few kilobytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while not over.is_set():
            connection.sendall(b"x" * 4096)

    with server(serve) as address:
        began = monotonic()
        assert called(town, f"http://{address}/", postman(town)) == ("delivered", None)
        assert monotonic() - began < 10


def test_an_endless_header_is_not_kept(town: Town) -> None:
    """What is no answer of HTTP in reasonable length is a failure."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.is_set():
            connection.sendall(b"x" * 4096)

    with server(serve) as address:
        status, why = called(town, f"http://{address}/", postman(town, call_seconds=5))
    assert status == "pending"
    assert why == "what it said is neither TLS nor HTTP as it should be"


def certificate(directory: Path, name: str, lifetime: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
    """A certificate of its own signature for a name, and its key, as PEM files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = directory / f"{name}.crt", directory / f"{name}.pem"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private, form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, private, form))
    return crt, pem


@pytest.mark.parametrize(
    ("name", "lifetime", "trusted", "outcome"),
    [
        (NAME, timedelta(days=1), True, None),
        ("other.example.com", timedelta(days=1), True, "Hostname mismatch"),
        (NAME, timedelta(days=-1), True, "certificate has expired"),
        (NAME, timedelta(days=1), False, "self-signed certificate"),
    ],
)
def test_the_certificate_has_to_be_for_the_name_although_an_address_is_called(
    town: Town, tmp_path: Path, name: str, lifetime: timedelta, trusted: bool, outcome: str | None
) -> None:
    """The name goes into the TLS greeting, and a certificate for another name, or an old one, is refused."""
    crt, pem = certificate(tmp_path, name, lifetime)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(crt, pem)
    greeted: list[str | None] = []
    ours.sni_callback = lambda connection, asked, context: greeted.append(asked)

    def serve(connection: socket.socket, over: threading.Event) -> None:
        with ours.wrap_socket(connection, server_side=True) as safe:
            heard = b""
            while not heard.endswith(b"}"):
                heard += safe.recv(65536)
            safe.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    theirs = ssl.create_default_context(cafile=str(crt) if trusted else None)
    with server(serve) as address:
        man = postman(town, resolve=lambda host, port: ["127.0.0.1"], trust=theirs)
        status, why = called(town, f"https://{NAME}:{address.rpartition(':')[2]}/", man)
    assert greeted == [NAME]
    if outcome is None:
        assert (status, why) == ("delivered", None)
    else:
        assert (status, why) == ("pending", why)
        assert outcome in (why or "")


def test_the_first_address_that_can_be_reached_is_called(town: Town, receiver: Receiver) -> None:
    """A host whose one address is down is reached by another, all of them judged before."""
    man = postman(town, resolve=lambda host, port: ["127.0.0.2", "::1", "127.0.0.1"])
    assert called(town, f"http://{NAME}:{port_of(receiver)}/", man) == ("delivered", None)


def test_a_name_that_does_not_resolve_is_a_failure_that_says_so(town: Town) -> None:
    with pytest.raises(UnreachableError, match="does not resolve"):
        SystemResolver(5)("nothing.invalid", 443)
    assert called(town, "https://nothing.invalid/", postman(town)) == (
        "pending",
        "the name of its host does not resolve",
    )


def test_a_name_server_that_keeps_silent_is_left_in_time(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own limit is far longer than ours."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    began = monotonic()
    with pytest.raises(UnreachableError, match="in time"):
        SystemResolver(1)("slow.example", 443)
    assert monotonic() - began < 5
    over.set()


def test_one_that_answers_before_it_has_read_everything_is_heard(town: Town) -> None:
    """A receiver that refuses by the headers alone, and hangs up, has said why."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)

    with server(serve) as address:
        status, why = called(town, f"http://{address}/", postman(town))
    assert (status, why) == ("failed", "it answered with HTTP status 410")
