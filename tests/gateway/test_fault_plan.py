"""The fault plan: what it says, that it is kept, and that chance is the same for the same load."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import httpx
import pytest

from activities.gateways.port import Declined, NotFound, Succeeded, Unknown
from activities.gateways.stripe import StripeGateway
from starter.sandbox.plan import Plan
from tests.gateway.sandbox_process import API_KEY, SandboxProcess, eventually
from tests.gateway.test_outcomes import charge, transfer
from tests.gateway.test_webhooks import Inbox

ROOT = Path(__file__).parents[2]
FORM = {"amount": "100", "currency": "eur", "destination": "acct_1"}


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    server.posts.append((b"{}", ""))  # it answers the first post with an error
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, inbox: Inbox) -> Iterator[SandboxProcess]:
    url = f"http://127.0.0.1:{inbox.server_port}/"
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"), "--webhook-url", url)
    yield process
    process.kill()


@pytest.fixture
def sandbox(running: SandboxProcess) -> SandboxProcess:
    running.behave()
    running.plan()
    return running


def entry(operation: Any, fault: str, **more: Any) -> dict[str, Any]:
    return {"operation": operation, "fault": fault, **more}


def send(sandbox: SandboxProcess, key: str, **more: str) -> int:
    """Ask for a transfer; answers the status, or 0 when there was no answer."""
    try:
        return sandbox.post("/v1/transfers", {**FORM, "transfer_group": key, **more}, key).status_code
    except httpx.TransportError:
        return 0


def grown(sandbox: SandboxProcess, before: dict[str, int]) -> dict[str, int]:
    """What went wrong since then."""
    return {
        kind: times - before.get(kind, 0) for kind, times in sandbox.injected().items() if times != before.get(kind)
    }


def test_a_wrong_plan_is_refused_and_the_one_in_force_stays(sandbox: SandboxProcess) -> None:
    """The mistake is named with its place; nothing has changed."""
    sandbox.plan(seed=3)
    assert sandbox.refusal('{"webhooks": {"lost": 2}}') == "webhooks.lost: a number from 0 to 1, not 2"
    assert sandbox.get("/sandbox/plan").json() == {"seed": 3}


def _storm(sandbox: SandboxProcess, keys: list[str]) -> dict[tuple[str, int], str | None]:
    """Ask for every transfer, and look for each, many at a time; answers what each attempt so far met."""

    def one(key: str) -> None:
        send(sandbox, key)
        with suppress(httpx.TransportError):
            sandbox.get("/v1/transfers", transfer_group=key)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(one, keys))
    return {(line["subject"], line["attempt"]): line["fault"] for line in sandbox.get("/sandbox/journal").json()}


def test_the_same_load_with_the_same_seed_meets_the_same_faults(tmp_path: Path) -> None:
    """In whatever order the requests arrive, with a kill -9 in between; another seed is another story."""
    plan: dict[str, Any] = {
        "requests": [
            entry("transfer", "error_after", probability=0.2),
            entry(["*", "look_up"], "drop_before", probability=0.2),
            entry("look_up", "rate_limit", probability=0.3),
        ],
        "webhooks": {"lost": 0.5, "late": 0.2},
    }
    nobody = ("--webhook-url", "http://127.0.0.1:9/")
    one, other = SandboxProcess(tmp_path / "one", *nobody), SandboxProcess(tmp_path / "other", *nobody)
    keys = [f"key-{number}" for number in range(30)]
    try:
        one.plan(seed=7, **plan)
        other.plan(seed=7, **plan)
        _storm(one, keys)
        _storm(other, keys[20:])
        other.kill()
        other.start()
        _storm(other, keys[19::-1])
        first, again = _storm(one, keys), _storm(other, keys[::-1])
        assert again == first
        assert set(first.values()) == {None, "error_after", "drop_before", "rate_limit"}
        assert ("GET /v1/transfers?transfer_group=key-1", 2) in first
        assert any(first[key, 1] != first[key, 2] for key in keys), "every attempt has a chance of its own"
        assert other.injected() == one.injected()
        assert {"webhook_lost", "webhook_late"} < set(one.injected())
        other.plan(seed=8, **plan)
        assert _storm(other, keys) != _storm(one, keys)
    finally:
        one.kill()
        other.kill()


def test_a_look_up_by_id_goes_by_the_key_of_the_object(
    sandbox: SandboxProcess, gateway: StripeGateway, key: str
) -> None:
    """Ids are random, so chance must not hang on them."""
    made = charge(gateway, key)
    assert isinstance(made, Succeeded)
    assert gateway.look_up(operation="charge", key=key, reference=made.reference) == made
    [charged] = sandbox.list("charges", transfer_group=key)
    dispute = sandbox.happen("contest", key=key)
    for path in (f"charges/{charged['id']}", f"disputes/{dispute['id']}", f"payment_intents/{made.reference}"):
        sandbox.get(f"/v1/{path}")
    asked = [line["subject"] for line in sandbox.get("/sandbox/journal", operation="look_up").json()]
    assert asked[-3:] == [
        f"GET /v1/charges/{key}?",
        f"GET /v1/disputes/contest {key}?",
        f"GET /v1/payment_intents/{key}?",
    ]
    assert asked[-5] == asked[-1]


def test_how_often_follows_the_probability() -> None:
    """One in four of 4,000, give or take: three standard deviations are 82."""
    plan = Plan(seed=11)
    assert (
        918 <= sum(plan.chance(0.25, "requests[0]", "transfer", f"key-{number}", 1) for number in range(4000)) <= 1082
    )
    assert not plan.chance(0.0, "anywhere")
    assert plan.chance(1.0, "anywhere")


def test_entries_are_chosen_by_attempt_number_and_match(sandbox: SandboxProcess, key: str) -> None:
    """``attempt`` counts what is asked again, ``nth`` whatever arrives; ``times`` ends it, and the first entry wins."""
    sandbox.plan(requests=[entry("transfer", "error_before", attempt=[1, 2]), entry("transfer", "rate_limit")])
    assert [send(sandbox, f"{key}:a") for _ in range(4)] == [500, 500, 429, 429]
    sandbox.plan(requests=[entry("*", "error_before", nth=[2, 3], match={"metadata.leg": "seller"})])
    sent = [
        send(sandbox, f"{key}:{number}", **{"metadata[leg]": leg}) for number, leg in enumerate(("seller", "fee") * 4)
    ]
    assert sent == [200, 200, 500, 200, 500, 200, 200, 200]
    sandbox.plan(requests=[entry("transfer", "error_before", times=1)])
    assert [send(sandbox, f"{key}:{letter}") for letter in "xyz"] == [500, 200, 200]


def test_a_queued_fault_goes_before_the_plan(sandbox: SandboxProcess, key: str) -> None:
    sandbox.plan(requests=[entry("transfer", "error_before")])
    sandbox.fault("transfer", "rate_limit")
    assert [send(sandbox, key) for _ in range(2)] == [429, 500]


def _raw(sandbox: SandboxProcess) -> bytes:
    """What a plain socket hears to a look-up."""
    with socket.create_connection(("127.0.0.1", sandbox.port), 10) as connection:
        connection.sendall(f"GET /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n\r\n".encode())
        return connection.recv(1000)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_is_no_clean_close(sandbox: SandboxProcess, gateway: StripeGateway, key: str, when: str) -> None:
    """A dropped connection ends, a reset one breaks; for the adapter both are unknown, until it asks."""
    fault = {"before": "drop_before", "after": "drop_reply_after"}[when]
    sandbox.plan(requests=[entry("look_up", fault)])
    assert _raw(sandbox) == b""
    sandbox.plan(requests=[entry(["transfer", "look_up"], f"reset_{when}")])
    with pytest.raises(ConnectionResetError):
        _raw(sandbox)
    assert isinstance(transfer(gateway, key), Unknown)
    [line] = sandbox.journal(key)
    assert (line["status"], line["executed"]) == (None, when == "after")
    sandbox.plan()
    assert isinstance(gateway.look_up(operation="transfer", key=key), Succeeded if when == "after" else NotFound)


def test_a_rate_limit_says_when_to_come_back(sandbox: SandboxProcess, key: str) -> None:
    sandbox.plan(requests=[entry("*", "rate_limit", retry_after=7)])
    answer = sandbox.post("/v1/transfers", FORM, key)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert not any(line["executed"] for line in sandbox.journal(key))


def test_an_answer_can_come_late_after_the_work(sandbox: SandboxProcess, key: str) -> None:
    """The client gives up, but the money has moved already."""
    sandbox.plan(requests=[entry("transfer", "delay_after", seconds=60, attempt=1)])
    began = monotonic()
    assert isinstance(transfer(sandbox.gateway(timeout_seconds=0.3), key), Unknown)
    assert isinstance(transfer(sandbox.gateway(), key), Succeeded)
    assert monotonic() - began < 60
    assert [line["executed"] for line in sandbox.journal(key)] == [True, False]


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_kills_itself_and_remembers_that_and_the_plan(mortal: SandboxProcess, key: str, when: str) -> None:
    """SIGKILL at the named point; started again it has the plan, the count, and a second attempt that goes well."""
    plan = {"requests": [entry("transfer", f"restart_{when}", attempt=1)]}
    mortal.plan(**plan)
    assert isinstance(transfer(mortal.gateway(), key), Unknown)
    assert mortal.died() == -signal.SIGKILL
    mortal.start()
    assert mortal.get("/sandbox/plan").json() == plan
    assert mortal.injected() == {f"restart_{when}": 1}
    found = mortal.gateway().look_up(operation="transfer", key=key)
    assert isinstance(found, Succeeded if when == "after" else NotFound)
    assert isinstance(transfer(mortal.gateway(), key), Succeeded)
    assert len(mortal.transfers(key)) == 1


def test_counts_and_what_is_to_happen_survive_kill_9(mortal: SandboxProcess, key: str) -> None:
    """``times`` and ``nth`` go on where they were, and a transfer that was to come back does."""
    mortal.plan(
        requests=[entry("transfer", "error_before", nth=[1, 3]), entry("look_up", "error_before", times=2)],
        happenings=[{"after": "transfer", "happening": "reverse", "seconds": 1.5}],
    )
    assert [send(mortal, key) for _ in range(2)] == [500, 200]
    assert mortal.get("/v1/balance").status_code == 500
    mortal.kill()
    mortal.start()
    assert [send(mortal, f"{key}:2"), mortal.get("/v1/balance").status_code] == [500, 500]
    assert mortal.get("/v1/balance").status_code == 200
    [event] = eventually(lambda: [one for one in mortal.events() if one["type"] == "transfer.reversed"], within=30)
    assert event["data"]["object"]["transfer_group"] == key
    assert mortal.moved(event["data"]["object"]["id"]) == [100, -100]
    assert mortal.injected() == {"error_before": 4, "happening_reverse": 1}


def test_a_plan_can_come_from_a_file(tmp_path: Path, key: str) -> None:
    """The file counts when it is another one than at the last start; what was set meanwhile survives a restart."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"requests": [entry("transfer", "error_before")]}))
    process = SandboxProcess(tmp_path, "--fault-plan", str(file))
    try:
        assert send(process, key) == 500
        process.plan(seed=5)
        process.kill()
        process.start()
        assert process.get("/sandbox/plan").json() == {"seed": 5}
        file.write_text('{"seed": 6}')
        process.kill()
        process.start()
        assert process.get("/sandbox/plan").json() == {"seed": 6}
    finally:
        process.kill()
    without = SandboxProcess(tmp_path)
    try:
        assert without.get("/sandbox/plan").json() == {}
    finally:
        without.kill()


def test_a_wrong_file_keeps_it_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"seed": "x"}')
    options = ("--data", str(tmp_path / "books"), "--port", "1", "--api-key", "k", "--webhook-secret", "s")
    command = [sys.executable, "-m", "starter.sandbox", *options, "--fault-plan", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    assert f"--fault-plan {file}: seed: a whole number" in ended.stderr


def test_a_decline_by_plan_is_definite_and_only_counted_when_it_was_one(
    sandbox: SandboxProcess, gateway: StripeGateway, key: str
) -> None:
    """A key that has its answer keeps it: the chance of the second attempt comes to nothing."""
    assert isinstance(transfer(gateway, key), Succeeded)
    before = sandbox.injected()
    sandbox.plan(requests=[entry("transfer", "decline", code="account_closed")])
    assert isinstance(transfer(gateway, key), Succeeded)
    assert grown(sandbox, before) == {}
    refused = transfer(gateway, f"{key}:2")
    assert isinstance(refused, Declined)
    assert (refused.code, grown(sandbox, before)) == ("account_closed", {"decline": 1})


def test_banks_do_what_the_plan_has_for_them(sandbox: SandboxProcess, gateway: StripeGateway, key: str) -> None:
    """A charge is contested in part and decided; a bank debit is collected, and one bounces; a decline has nothing."""
    before = sandbox.injected()
    decided = {"status": "won", "seconds": 0.1}
    sandbox.plan(
        happenings=[
            {"after": "charge", "happening": "contest", "share": 0.333, "decide": decided},
            {"after": "charge", "happening": "collect"},  # which it is already: nothing is to happen
        ],
    )
    assert isinstance(charge(gateway, f"{key}:1", amount=100000), Succeeded)
    assert isinstance(charge(gateway, f"{key}:2", "pm_card_chargeDeclined"), Declined)
    sandbox.plan(happenings=[{"after": "charge", "happening": "collect"}])
    assert isinstance(charge(gateway, f"{key}:3", "pm_usBankAccount_processing"), Unknown)
    sandbox.plan(happenings=[{"after": "charge", "happening": "fail", "code": "debit_not_authorized"}] * 2)
    assert isinstance(charge(gateway, f"{key}:4"), Succeeded)
    expected = {f"happening_{name}": 1 for name in ("contest", "decide", "collect", "fail", "fail_impossible")}
    eventually(lambda: grown(sandbox, before) == expected, within=30)
    [contested] = sandbox.list("charges", transfer_group=f"{key}:1")
    [dispute] = sandbox.list("disputes", charge=contested["id"])
    assert (dispute["amount"], dispute["status"], sandbox.moved(dispute["id"])) == (33300, "won", [33300, -33300])
    charges = [one for number in "34" for one in sandbox.list("charges", transfer_group=f"{key}:{number}")]
    assert [one["status"] for one in charges] == ["succeeded", "failed"]


def _posts(inbox: Inbox) -> list[str]:
    """What was posted so far: the groups of the events' objects."""
    bodies = [json.loads(body) for body, _ in list(inbox.posts)]
    return [one.get("data", {}).get("object", {}).get("transfer_group") for one in bodies]


def test_events_are_lost_late_repeated_and_out_of_order(
    sandbox: SandboxProcess, inbox: Inbox, gateway: StripeGateway, key: str
) -> None:
    """Each of them alone, with certainty; the sandbox knows every event all the while."""
    before = sandbox.injected()
    faults: dict[str, dict[str, float]]
    faults = {"lost": {}, "late": {"seconds": 3}, "duplicate": {"times": 3}, "out_of_order": {"seconds": 60}}
    for fault, more in faults.items():
        sandbox.plan(webhooks={fault: {"probability": 1, **more}})
        assert isinstance(transfer(gateway, f"{key}:{fault}"), Succeeded)
    sandbox.plan()
    assert isinstance(transfer(gateway, f"{key}:last"), Succeeded)
    expected = {"lost": 0, "late": 1, "duplicate": 3, "out_of_order": 1, "last": 1}
    eventually(lambda: {name: _posts(inbox).count(f"{key}:{name}") for name in expected} == expected, within=30)
    groups = _posts(inbox)
    assert groups.index(f"{key}:last") < groups.index(f"{key}:out_of_order")
    event, signature = inbox.posts[groups.index(f"{key}:late")]
    assert int(signature.partition(",")[0].removeprefix("t=")) - json.loads(event)["created"] >= 2
    assert f"{key}:lost" in [one["data"]["object"].get("transfer_group") for one in sandbox.events()]
    assert grown(sandbox, before) == {f"webhook_{name}": 1 for name in expected if name != "last"}


def test_keys_can_be_forgotten_soon(sandbox: SandboxProcess, key: str) -> None:
    """After its while a key stands for nothing: the same request is another transfer."""
    before = sandbox.injected()
    sandbox.plan(forget_keys_after_seconds=0)
    assert [send(sandbox, key), send(sandbox, key)] == [200, 200]
    assert len(sandbox.transfers(key)) == 2
    assert grown(sandbox, before) == {"key_forgotten": 1}
    sandbox.plan()
    assert [send(sandbox, key), len(sandbox.transfers(key))] == [200, 2]
