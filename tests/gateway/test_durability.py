"""The sandbox's books after it was stopped or killed, and many of its pages."""

from concurrent.futures import ThreadPoolExecutor

from activities.gateways.port import NotFound, Succeeded, Unknown
from tests.gateway.sandbox_process import SandboxProcess
from tests.gateway.test_outcomes import charge, transfer


def test_a_restart_keeps_books_and_keys(mortal: SandboxProcess, key: str) -> None:
    """After a restart the same key still answers with the first transfer."""
    first = transfer(mortal.gateway(), key)
    mortal.stop()
    mortal.start()
    assert transfer(mortal.gateway(), key) == first
    assert len(mortal.transfers(key)) == 1


def test_kill_9_keeps_what_was_answered(mortal: SandboxProcess, key: str) -> None:
    """What was answered before kill -9 is there after it: object, money, key and journal."""
    gateway = mortal.gateway()
    first = transfer(gateway, key)
    assert isinstance(first, Succeeded)
    mortal.kill()
    assert isinstance(gateway.look_up(operation="transfer", key=key), Unknown)
    mortal.start()
    assert gateway.look_up(operation="transfer", key=key) == first
    assert transfer(gateway, key) == first
    assert mortal.moved(first.reference) == [-135000]
    assert [line["executed"] for line in mortal.journal(key)] == [True, False]


def test_kill_9_amid_the_work_leaves_nothing_half_done(mortal: SandboxProcess, key: str) -> None:
    """A transfer that was cut off by kill -9 is there whole or not at all; sending again makes it one."""
    gateway = mortal.gateway()
    keys = [f"{key}:{number}" for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        sending = [threads.submit(transfer, gateway, one) for one in keys]
        sending[30].result()
        mortal.kill()
        before = [attempt.result() for attempt in sending]
    assert {type(outcome) for outcome in before} == {Succeeded, Unknown}
    mortal.start()
    for one, outcome in zip(keys, before, strict=True):
        found = gateway.look_up(operation="transfer", key=one)
        assert isinstance(found, Succeeded | NotFound)
        assert found == outcome or isinstance(outcome, Unknown)
        again = transfer(gateway, one)
        assert isinstance(again, Succeeded)
        [made] = mortal.transfers(one)
        assert mortal.moved(made["id"]) == [-135000]


def test_the_balance_is_the_sum_of_what_moved(mortal: SandboxProcess, key: str) -> None:
    """The platform's balance at the provider is what came in less what went out."""
    gateway = mortal.gateway()
    charge(gateway, key, amount=500000)
    transfer(gateway, f"{key}:out", amount=135000)
    assert mortal.get("/v1/balance").json()["available"][0]["amount"] == 365000


def test_a_long_list_comes_in_pages(mortal: SandboxProcess, key: str) -> None:
    """A list shows everything, newest first, page by page, and says when there is more."""
    gateway = mortal.gateway()
    made = [transfer(gateway, f"{key}:{number}") for number in range(5)]
    first = mortal.get("/v1/transfers", limit="3").json()
    rest = mortal.get("/v1/transfers", limit="3", starting_after=first["data"][-1]["id"]).json()
    seen = [transfer["id"] for transfer in first["data"] + rest["data"]]
    assert seen == [outcome.reference for outcome in reversed(made) if isinstance(outcome, Succeeded)]
    assert (first["has_more"], rest["has_more"]) == (True, False)
