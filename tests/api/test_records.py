"""What the books recorded of an escrow, for whom it is. Source: http-contract.md, "A settlement"; docs/reports.md."""

import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.api.service import Api, Tenant
from tests.api.test_parties import end_user
from tests.api.test_payouts import payout, released
from tests.servers import eventually


def pages(tenant: Tenant, path: str) -> list[Any]:
    """A list as it comes two at a time."""
    found: list[Any] = []
    page = tenant.platform.get(f"{path}?limit=2")
    while True:
        assert len(page["data"]) <= 2
        found += page["data"]
        if not page["has_more"]:
            return found
        page = tenant.platform.get(f"{path}?limit=2&starting_after={found[-1]['id']}")


def test_a_settlement_is_the_documents(tenant: Tenant) -> None:
    tenant.ready()
    tenant.operator.put("/v1/exchange-rates", {"base": "USD", "quote": "EUR", "rate": "0.5", "as_of": "2026-11-20"})
    tenant.platform.post("/v1/policies/release", {"max_rate_age": "P366D"})
    escrow = released(tenant, currency="EUR")
    (settled,) = tenant.platform.get(f"/v1/escrows/{escrow['id']}/settlements")["data"]
    milestone = escrow["milestones"][0]["id"]
    expected = {
        "escrow": escrow["id"], "milestone": milestone, "dispute": None, "outcome": "release", "currency": "EUR",
        "total": 150000, "platform_fee": 15000, "seller_payout": 135000, "buyer_refund": 0, "dispute_fee": 0,
        "fee_policy_version": 1, "fee_rule": "release/*", "fee_rate": "0.10", "projected_fee_returned": 0,
        "projected_payout_reduced": 0, "reverses": None, "fee_returned": 0,
    }  # fmt: skip
    assert {name: settled[name] for name in expected} == expected
    assert settled["fee_steps"][-1] == "0.10 x 150000 = 15000 (rounded half-up)"
    fx = {
        "rate": "1",
        "quote": "EUR",
        "total": 150000,
        "platform_fee": 15000,
        "seller_payout": 135000,
        "buyer_refund": 0,
    }
    assert {name: settled["fx"][name] for name in fx} == fx


def test_a_settlement_in_another_currency_has_both(tenant: Tenant) -> None:
    tenant.ready()
    tenant.platform.post("/v1/policies/release", {"max_rate_age": "P366D"})
    tenant.operator.put("/v1/exchange-rates", {"base": "USD", "quote": "EUR", "rate": "0.925", "as_of": "2026-11-20"})
    tenant.platform.post(
        "/v1/wallets/alice/topups", {"amount": 500000, "currency": "USD", "payment_method": "pm_card_visa"}
    )
    escrow = released(tenant, currency="USD")
    (settled,) = tenant.platform.get(f"/v1/escrows/{escrow['id']}/settlements")["data"]
    assert settled["fx"] == {
        "rate": "0.925", "quote": "EUR", "as_of": "2026-11-20",
        "total": 138750, "platform_fee": 13875, "seller_payout": 124875, "buyer_refund": 0,
    }  # fmt: skip


def test_what_a_clawback_took_from_the_seller_is_not_told_to_the_buyer(tenant: Tenant) -> None:
    escrow = released(tenant.ready())
    path = f"/v1/escrows/{escrow['id']}/settlements"
    tenant.operator.post(
        f"/v1/milestones/{escrow['milestones'][0]['id']}/reverse", {"amount": 50000, "reason": "half of it was late"}
    )
    taken, original = tenant.platform.get(path)["data"]
    assert (taken["reverses"], taken["total"], taken["fee_returned"]) == (original["id"], 50000, 5000)
    assert taken["from_payable"] + taken["from_wallet"] + taken["to_receivable"] == 45000
    assert tenant.bob.get(path)["data"] == [one | {"command": None} for one in (taken, original)]
    for_buyer = tenant.alice.get(path)["data"][0]
    hidden = {"from_payable", "from_wallet", "to_receivable", "command"}
    assert for_buyer == taken | dict.fromkeys(hidden)


def test_settlements_come_newest_first_a_page_at_a_time(tenant: Tenant) -> None:
    escrow = released(tenant.ready())
    milestone = f"/v1/milestones/{escrow['milestones'][0]['id']}"
    for amount in (1000, 2000):
        tenant.operator.post(f"{milestone}/reverse", {"amount": amount, "reason": "it was late"})
    found = pages(tenant, f"/v1/escrows/{escrow['id']}/settlements")
    assert [one["total"] for one in found] == [2000, 1000, 150000]


def test_the_ledger_balances_transaction_by_transaction(tenant: Tenant) -> None:
    paid = payout(tenant.ready(), "paid")
    path = f"/v1/escrows/{paid['escrow']}/ledger"
    found = tenant.platform.get(path)["data"]
    assert [one["memo"] for one in found] == ["payout paid", "payout sent", "release", "fund"]
    assert pages(tenant, path) == found
    for transaction in found:
        assert (
            sum(one["amount"] if one["direction"] == "debit" else -one["amount"] for one in transaction["entries"]) == 0
        )
    (release,) = (one for one in found if one["memo"] == "release")
    assert [(one["account"], one["owner"], one["direction"], one["amount"]) for one in release["entries"]] == [
        ("escrow_hold", paid["escrow"], "debit", 150000),
        ("payable", "bob", "credit", 135000),
        ("fee_revenue", "platform", "credit", 15000),
    ]
    assert release["settlement"] == paid["settlement"]


def test_the_audit_is_a_chain_that_anybody_can_compute_again(tenant: Tenant) -> None:
    escrow = tenant.ready().submitted()
    refused = tenant.alice.ask("POST", f"/v1/escrows/{escrow['id']}/start")
    assert refused.status_code == httpx.codes.FORBIDDEN
    path = f"/v1/escrows/{escrow['id']}/audit"
    rows = tenant.platform.get(path)["data"]
    assert pages(tenant, path) == rows
    assert [one["name"] for one in rows] == ["start_work", "submit_milestone", "start_work", "fund", "create"]
    assert [one["outcome"] for one in rows][:2] == ["forbidden", "accepted"]
    assert (rows[1]["actor_role"], rows[1]["actor_party"], rows[1]["ip"]) == ("seller", "bob", "127.0.0.1")
    head = "0" * 64
    for row in reversed(rows):
        assert (row["previous"], row["hash"]) == (head, digest(row))
        head = row["hash"]


def digest(row: dict[str, Any]) -> str:
    """The hash of a row as docs/reports.md has it."""
    columns = (
        "previous", "position", "id", "tenant_id", "escrow_id", "command_id", "name", "actor_role", "actor_party", "ip",
        "user_agent", "details_text", "outcome", "message", "before_version", "after_version", "received_at",
        "recorded_at",
    )  # fmt: skip
    return hashlib.sha256(json.dumps([row[name] for name in columns], ensure_ascii=False).encode()).hexdigest()


def test_the_audit_as_text_is_the_story_from_its_beginning(tenant: Tenant) -> None:
    escrow = released(tenant.ready())
    answer = tenant.platform.ask("GET", f"/v1/escrows/{escrow['id']}/audit?format=text")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert lines[0].startswith(f"Audit of {escrow['id']}: Website redesign, from alice to bob")
    assert lines[2].startswith("#1 ")
    assert "settles   release 1,500.00 EUR" in answer.text
    assert "The chain is whole: " in lines[-1]
    assert tenant.platform.ask("GET", f"/v1/escrows/{escrow['id']}/audit?format=pdf").status_code == 422


def test_a_strangers_refused_attempt_in_the_chain_is_neither_shown_nor_called_a_break(tenant: Tenant, api: Api) -> None:
    """Who speaks Temporal may name any id for a new escrow; the refusal is in the chain of the escrow that has it."""
    escrow = tenant.create()
    other = api.tenant()
    with api.servers.owner() as connection:
        connection.execute(
            """INSERT INTO audit (id, tenant_id, escrow_id, command_id, name, actor_role, details, outcome,
                                  before_version, after_version, received_at)
               VALUES ('aud_' || right(%s, 26), %s, %s, 'theirs', 'create', 'platform', '{}', 'already_exists', 1, 1,
                       now())""",
            (other.id, other.id, escrow["id"]),
        )
    tenant.platform.put(f"/v1/escrows/{escrow['id']}", {"title": "Another title"})
    path = f"/v1/escrows/{escrow['id']}/audit"
    assert [one["position"] for one in tenant.platform.get(path)["data"]] == [3, 1]
    story = tenant.platform.ask("GET", f"{path}?format=text").text
    assert ("theirs" in story, "BROKEN" in story, "whole" in story) == (False, False, False)
    assert "Not every row of this chain can be seen from here" in story


def test_the_events_of_an_escrow_come_newest_first_and_get_their_numbers(tenant: Tenant) -> None:
    escrow = released(tenant.ready())
    path = f"/v1/escrows/{escrow['id']}/events"
    found = eventually(lambda: _numbered(tenant, path))
    assert pages(tenant, path) == found
    types = [one["type"] for one in found]
    assert types[-2:] == ["escrow.funded", "escrow.created"]
    assert types.index("settlement.posted") < types.index("milestone.submitted")
    assert [one["version"] for one in found] == sorted((one["version"] for one in found), reverse=True)
    assert {(one["escrow"], one["livemode"], one["tenant"]) for one in found} == {(escrow["id"], False, tenant.id)}


def _numbered(tenant: Tenant, path: str) -> Any:
    """The events, once the payout has arrived and each has its number."""
    found = tenant.platform.get(path)["data"]
    arrived = found[0]["type"] in {"payout.paid", "milestone.paid"}
    return found if arrived and all(one["sequence"] for one in found) else None


def test_both_sides_read_settlements_and_events_and_neither_the_books(tenant: Tenant) -> None:
    escrow = released(tenant.ready())
    for side in (tenant.alice, tenant.bob, end_user(tenant, "alice", "buyer")):
        for name in ("settlements", "events"):
            assert side.get(f"/v1/escrows/{escrow['id']}/{name}")["data"]
        for name in ("ledger", "audit", "audit?format=text"):
            answer = side.ask("GET", f"/v1/escrows/{escrow['id']}/{name}")
            assert answer.status_code == httpx.codes.FORBIDDEN
    stranger = end_user(tenant, "carl", "buyer")
    for name in ("settlements", "events"):
        assert stranger.ask("GET", f"/v1/escrows/{escrow['id']}/{name}").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize("name", ["settlements", "ledger", "audit", "audit?format=text", "events"])
def test_what_is_not_there_has_no_records(tenant: Tenant, name: str) -> None:
    other = tenant.api.tenant().create()
    for escrow in (other["id"], "esc_1", "%00"):
        assert tenant.platform.ask("GET", f"/v1/escrows/{escrow}/{name}").status_code == httpx.codes.NOT_FOUND
