"""The sandbox as an independent witness: strict about Stripe's API, and nothing of ours in it."""

import subprocess
import sys

import httpx
import pytest

from tests.gateway.sandbox_process import API_KEY, SandboxProcess

TRANSFER = {"amount": "100", "currency": "eur", "destination": "acct_1"}


def test_the_sandbox_imports_nothing_of_holdfast() -> None:
    """A witness that shared code with the accused would share its mistakes."""
    code = "import sys, starter.sandbox.__main__; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "starter" in loaded
    assert not {"models", "ledger", "activities", "workflows", "settings", "stripe"} & set(loaded)


@pytest.mark.parametrize(
    ("form", "param"),
    [
        (TRANSFER | {"amount": "1.5"}, "amount"),
        (TRANSFER | {"amount": "0"}, "amount"),
        (TRANSFER | {"amount": ""}, "amount"),
        (TRANSFER | {"currency": "EUR"}, "currency"),
        (TRANSFER | {"currency": "kwd", "amount": "5124"}, "amount"),
        (TRANSFER | {"currency": "isk", "amount": "150"}, "amount"),
        (TRANSFER | {"colour": "red"}, "colour"),
        (TRANSFER | {"metadata[k]": "x" * 501}, "metadata[k]"),
        (TRANSFER | {"metadata[k][deeper]": "x"}, "metadata[k]"),
        (TRANSFER | {"destination": "acct_missing"}, "destination"),
        ({"amount": "100", "currency": "eur"}, "destination"),
    ],
)
def test_a_malformed_request_is_refused_in_stripes_words(
    sandbox: SandboxProcess, key: str, form: dict[str, str], param: str
) -> None:
    """A request that Stripe would refuse is refused, names the parameter, and makes nothing."""
    answer = sandbox.post("/v1/transfers", form, key)
    assert answer.status_code == 400
    assert (answer.json()["error"]["type"], answer.json()["error"]["param"]) == ("invalid_request_error", param)
    assert not any(line["executed"] for line in sandbox.journal(key))


def test_only_the_api_key_opens_the_door(sandbox: SandboxProcess) -> None:
    """Bearer and basic credentials with the key are let in, everything else is a 401."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    assert httpx.get(f"{sandbox.url}/v1/balance", headers=headers).status_code == 200
    assert httpx.get(f"{sandbox.url}/v1/balance", auth=(API_KEY, "")).status_code == 200
    assert httpx.get(f"{sandbox.url}/v1/balance", headers={"Authorization": "Basic %%%"}).status_code == 401
    assert httpx.get(f"{sandbox.url}/v1/balance").status_code == 401


def test_an_unknown_address_is_a_404_in_stripes_words(sandbox: SandboxProcess) -> None:
    """What the sandbox does not speak it says so, without a code."""
    answer = sandbox.get("/v1/subscriptions")
    assert answer.status_code == 404
    assert "code" not in answer.json()["error"]


def test_a_fault_can_be_aimed_at_one_operation(sandbox: SandboxProcess, key: str) -> None:
    """A fault strikes only the request that matches, as often as it was asked to."""
    sandbox.fault("*", "rate_limit", times=2, match={"key": key, "metadata.leg": "seller"})
    aimed = TRANSFER | {"metadata[leg]": "seller"}
    assert sandbox.post("/v1/transfers", TRANSFER, f"{key}:other").status_code == 200
    assert [sandbox.post("/v1/transfers", aimed, key).status_code for _ in range(3)] == [429, 429, 200]


def test_a_dropped_reply_is_no_answer_at_all(sandbox: SandboxProcess, key: str) -> None:
    """The connection is closed without a byte, after the work was committed; the journal knows both."""
    sandbox.fault("transfer", "drop_reply_after")
    with pytest.raises(httpx.TransportError):
        sandbox.post("/v1/transfers", TRANSFER, key)
    [line] = sandbox.journal(key)
    assert (line["executed"], line["status"], line["fault"], line["amount"]) == (True, None, "drop_reply_after", 100)


def test_the_balance_can_be_enforced(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    """With --enforce-balance nothing is sent that did not come in."""
    strict = SandboxProcess(tmp_path_factory.mktemp("strict"), "--enforce-balance")
    try:
        answer = strict.post("/v1/transfers", TRANSFER, key)
        assert answer.json()["error"]["code"] == "balance_insufficient"
    finally:
        strict.kill()
