"""Money in: charged once, credited once, and told as it is.

Source: http-contract.md, "Routes"; domain.md, section 7.
"""

import httpx
import pytest

from tests.api.service import Api, Tenant
from tests.api.test_parties import end_user
from tests.servers import eventually
from tests.workflow.scene import Sandbox

VISA = {"amount": 250_000, "currency": "EUR", "payment_method": "pm_card_visa"}
TOP_UP = "/v1/wallets/alice/topups"


def test_a_top_up_is_in_the_wallet_and_the_same_key_charges_once(tenant: Tenant) -> None:
    first = tenant.platform.ask("POST", TOP_UP, VISA, key="top-up-1")
    again = tenant.platform.ask("POST", TOP_UP, VISA, key="top-up-1")
    assert (first.status_code, first.content) == (201, again.content)
    charge = first.json()
    expected = {"party": "alice", "amount": 250_000, "currency": "EUR", "status": "succeeded", "reason": None}
    assert charge == {"id": charge["id"], **expected}
    assert tenant.platform.get(f"{TOP_UP}/{charge['id']}") == charge
    wallet = {"party": "alice", "currency": "EUR", "balance": 250_000, "locked": 0, "available": 250_000}
    assert tenant.platform.get("/v1/wallets/alice") == {"data": [wallet], "has_more": False}


def test_what_is_in_escrow_is_locked_per_currency(tenant: Tenant) -> None:
    tenant.ready().funded()
    tenant.platform.post(TOP_UP, VISA | {"currency": "JPY", "amount": 700})
    euros, yen = tenant.alice.get("/v1/wallets/alice")["data"]
    assert (euros["balance"], euros["locked"], euros["available"]) == (10_000_000, 500_000, 9_500_000)
    assert (yen["currency"], yen["balance"], yen["locked"]) == ("JPY", 700, 0)


def test_a_declined_charge_is_402_with_the_charge_and_stays_declined_for_its_key(tenant: Tenant) -> None:
    declined = VISA | {"payment_method": "pm_card_chargeDeclined"}
    first = tenant.platform.ask("POST", TOP_UP, declined, key="declined")
    again = tenant.platform.ask("POST", TOP_UP, declined, key="declined")
    assert (first.status_code, again.content) == (402, first.content)
    problem = first.json()
    assert (problem["code"], "generic_decline" in problem["reason"]) == ("payment_declined", True)
    known = tenant.platform.get(f"{TOP_UP}/{problem['charge']}")
    assert (known["status"], known["reason"]) == ("declined", problem["reason"])
    assert tenant.alice.get("/v1/wallets/alice")["data"] == []


def test_an_end_user_reads_that_a_card_was_declined_and_not_the_gateways_words(tenant: Tenant) -> None:
    declined = VISA | {"payment_method": "pm_card_chargeDeclined"}
    for alice in (tenant.alice, end_user(tenant, "alice", "buyer")):
        for path in (TOP_UP, "/api/v1/wallet/topup"):
            refused = alice.ask("POST", path, declined)
            problem = refused.json()
            assert (refused.status_code, problem["code"]) == (402, "payment_declined")
            assert problem["detail"] == "the charge was declined; try another payment method"
            assert ("reason" in problem, "generic" in refused.text) == (False, False)
            known = alice.get(f"{TOP_UP}/{problem['charge']}")
            assert (known["status"], known["reason"]) == ("declined", None)


def test_a_buyer_whose_card_does_not_fund_an_escrow_does_not_read_the_gateways_words_either(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    body = {"source": "gateway", "payment_method": "pm_card_chargeDeclined"}
    refused = tenant.alice.ask("POST", f"/v1/escrows/{escrow['id']}/fund", body, key="fund")
    problem = refused.json()
    assert (refused.status_code, problem["code"], "reason" in problem) == (402, "payment_declined", False), problem
    for told in (problem["detail"], tenant.alice.get("/v1/commands/fund")["message"]):
        assert told == "the charge was declined; try another payment method"
    assert "generic_decline" in tenant.platform.get("/v1/commands/fund")["message"]


def test_a_charge_of_which_nobody_knows_is_202_until_its_key_finds_out(api: Api, tenant: Tenant) -> None:
    """The gateway charged and its answer was lost: nothing is credited on a guess, and nothing is charged again."""
    sandbox = Sandbox(api.servers.endpoints)
    method = "pm_card_mastercard"
    sandbox.fault("charge", "drop_reply_after", match={"payment_method": method})
    sandbox.fault("look_up", "error_before", times=1000)
    try:
        unknown = tenant.platform.ask("POST", TOP_UP, VISA | {"payment_method": method}, key="unknown")
        assert (unknown.status_code, unknown.json()["status"]) == (202, "unknown")
        charge = unknown.json()["id"]
        assert tenant.platform.get(unknown.json()["status_url"])["status"] == "unknown"
        assert tenant.platform.get("/v1/wallets/alice")["data"] == []
    finally:
        sandbox.behave()
    eventually(lambda: tenant.platform.get(unknown.json()["status_url"])["status"] == "succeeded")
    known = tenant.platform.ask("POST", TOP_UP, VISA | {"payment_method": method}, key="unknown")
    assert (known.status_code, known.json()["id"], known.json()["status"]) == (201, charge, "succeeded")
    assert tenant.platform.get("/v1/wallets/alice")["data"][0]["balance"] == 250_000
    assert len(sandbox.charges(charge)) == 1


def test_buyers_fill_their_own_wallets_and_see_no_others(tenant: Tenant) -> None:
    alice, bob = end_user(tenant, "alice", "buyer"), end_user(tenant, "bob", "seller")
    charge = alice.post(TOP_UP, VISA)
    assert alice.get("/v1/wallets/alice")["data"][0]["balance"] == 250_000
    assert alice.ask("POST", "/v1/wallets/bob/topups", VISA).status_code == httpx.codes.NOT_FOUND
    assert bob.ask("POST", "/v1/wallets/bob/topups", VISA).status_code == httpx.codes.FORBIDDEN
    for path in ("/v1/wallets/alice", f"{TOP_UP}/{charge['id']}"):
        assert bob.ask("GET", path).status_code == httpx.codes.NOT_FOUND
    assert bob.ask("GET", f"/v1/wallets/bob/topups/{charge['id']}").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    "wrong",
    [{"amount": 0}, {"amount": "100"}, {"amount": 1.5}, {"currency": "EURO"}, {"payment_method": "a b"}, {"tip": 1}],
)
def test_a_top_up_that_cannot_be_is_refused_by_field(tenant: Tenant, wrong: dict[str, object]) -> None:
    answer = tenant.platform.ask("POST", TOP_UP, VISA | wrong)
    assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, next(iter(wrong)))


@pytest.mark.parametrize("path", ["/v1/wallets/not%20an%20id", f"{TOP_UP}/chg_1", f"{TOP_UP}/%00"])
def test_what_cannot_be_an_id_is_not_there(tenant: Tenant, path: str) -> None:
    assert tenant.platform.ask("GET", path).status_code == httpx.codes.NOT_FOUND


def test_a_key_charges_once_even_when_its_answer_was_forgotten_long_ago(tenant: Tenant) -> None:
    """Answers are kept for a week; what a key has moved, it has moved for ever."""
    first = tenant.platform.post(TOP_UP, VISA, key="order-17")
    with tenant.api.servers.owner() as connection:
        connection.execute("DELETE FROM idempotency WHERE tenant_id = %s", (tenant.id,))
    again = tenant.platform.ask("POST", TOP_UP, VISA, key="order-17")
    assert "Idempotent-Replayed" not in again.headers
    assert again.json() == first
    assert tenant.platform.get("/v1/wallets/alice")["data"][0]["balance"] == VISA["amount"]
    with tenant.api.servers.owner() as connection:
        connection.execute("DELETE FROM idempotency WHERE tenant_id = %s", (tenant.id,))
    other = tenant.platform.ask("POST", TOP_UP, VISA | {"amount": 1}, key="order-17")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
