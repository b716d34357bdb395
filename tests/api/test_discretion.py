"""What a buyer or seller reads over HTTP of what is the other's, or nobody's but the platform's.

Source: http-contract.md.
"""

from typing import Any

import pytest

from tests.api.service import Caller, Tenant
from tests.api.test_parties import end_user
from tests.api.test_payouts import payout, released
from tests.servers import eventually


def events(caller: Caller, escrow: str) -> list[Any]:
    """What somebody reads of what happened to an escrow."""
    found: list[Any] = caller.get(f"/v1/escrows/{escrow}/events?limit=100")["data"]
    return found


def test_the_buyer_reads_nothing_of_a_block_a_debt_or_what_was_sent(tenant: Tenant) -> None:
    """The seller owes from an earlier release, and is blocked when the next payout is asked for."""
    tenant.ready()
    first = payout(tenant, "paid")
    reversal = {"amount": 50000, "reason": "half of it was late"}
    tenant.operator.post(f"/v1/milestones/{first['milestones'][0]}/reverse", reversal)
    tenant.platform.post("/v1/policies/release", {"payout": {"trigger": "manual"}})
    escrow = released(tenant)["id"]
    tenant.operator.post("/v1/parties/bob/block", {"because": "name on list 7"})
    tenant.platform.post("/v1/parties/bob/payouts")
    whole = eventually(lambda: _blocked(tenant, escrow))
    assert "receivable.netted" in {one["type"] for one in whole}
    for alice in (tenant.alice, end_user(tenant, "alice", "buyer")):
        told = events(alice, escrow)
        assert {one["type"] for one in told}.isdisjoint({"receivable.netted", "payout.due"})
        assert [one["data"]["hold"] for one in told if one["type"] == "payout.held"] == ["manual"]
        assert not [word for word in ("blocked", "list 7", "90000", "45000") if word in str(told)]
    bobs = events(tenant.bob, escrow)
    assert "receivable.netted" in {one["type"] for one in bobs}
    assert not [word for word in ("blocked", "list 7") if word in str(bobs)]
    taken_back = {one["type"] for one in events(tenant.alice, first["escrow"])}
    assert ("milestone.clawed_back" in taken_back, "receivable.recorded" in taken_back) == (True, False)
    assert "receivable.recorded" in {one["type"] for one in events(tenant.bob, first["escrow"])}


def _blocked(tenant: Tenant, escrow: str) -> Any:
    found = events(tenant.platform, escrow)
    return found if "blocked" in {one["data"].get("hold") for one in found} else None


def test_the_buyer_reads_that_a_payout_arrived_and_the_seller_how_much(tenant: Tenant) -> None:
    escrow = payout(tenant.ready(), "paid")["escrow"]
    for caller, amount in ((tenant.platform, 135000), (tenant.bob, 135000), (tenant.alice, None)):
        (paid,) = (one["data"] for one in events(caller, escrow) if one["type"] == "payout.paid")
        assert paid.get("amount") == amount


def test_the_keys_and_the_count_of_others_are_the_platforms(tenant: Tenant) -> None:
    """What one side is refused under its key is not told to the other; a tenant's numbers are not told to either."""
    escrow = released(tenant.ready())["id"]
    tenant.platform.ask("POST", f"/v1/escrows/{escrow}/fund", {"source": "wallet"}, key="secret-key-1")
    assert "secret-key-1" in str(eventually(lambda: _counted(tenant, escrow)))
    keys = {one["command"] for one in tenant.platform.get(f"/v1/escrows/{escrow}/settlements")["data"]}
    assert keys
    assert None not in keys
    for side in (tenant.alice, tenant.bob, end_user(tenant, "bob", "seller")):
        told = events(side, escrow)
        assert told
        assert "command.refused" not in {one["type"] for one in told}
        assert {one["sequence"] for one in told} == {None}
        settled = side.get(f"/v1/escrows/{escrow}/settlements")["data"]
        assert [one["command"] for one in settled] == [None]
        assert not [key for key in ("secret-key-1", *keys) if key in str((told, settled))]


def _counted(tenant: Tenant, escrow: str) -> Any:
    found = events(tenant.platform, escrow)
    return found if all(one["sequence"] for one in found) else None


def test_pages_of_what_a_party_may_read_are_full_and_miss_nothing(tenant: Tenant) -> None:
    """Hidden events lie between those that are told: no page is shorter for it, and the last one says that it is."""
    tenant.ready()
    tenant.platform.post("/v1/policies/compliance", {"verified_above": {"payout": 0}})
    escrow = released(tenant)["id"]
    assert "kyc" in str(events(tenant.platform, escrow)[:3])
    for _ in range(3):
        tenant.platform.ask("POST", f"/v1/escrows/{escrow}/fund", {"source": "wallet"})
    whole = events(tenant.alice, escrow)
    assert len(whole) > 5
    found: list[Any] = []
    more = True
    while more:
        after = f"&starting_after={found[-1]['id']}" if found else ""
        page = tenant.alice.get(f"/v1/escrows/{escrow}/events?limit=1{after}")
        assert len(page["data"]) == 1
        found, more = found + page["data"], page["has_more"]
    assert found == whole


@pytest.mark.parametrize(("what", "prefix"), [("milestone", "mil"), ("dispute", "dsp"), ("payout", "pay")])
def test_what_is_somebody_elses_is_told_as_what_does_not_exist_is(tenant: Tenant, what: str, prefix: str) -> None:
    escrow = released(tenant.ready())["id"]
    tenant.alice.post(f"/v1/escrows/{escrow}/disputes", {"reason": "late", "description": "It is late."})
    known = tenant.platform.get(f"/v1/escrows/{escrow}")[f"{what}s"][0]["id"]
    unknown = f"{prefix}_01jd3v6k9q4m8n2p5r7s0t1w3x"
    doing = {"milestone": "approve", "dispute": "review", "payout": "retry"}[what]
    for caller in (end_user(tenant, "carl", "buyer"), tenant.api.tenant().platform):
        for method, rest in (("GET", ""), ("POST", f"/{doing}")):
            answers = [caller.ask(method, f"/v1/{what}s/{one}{rest}") for one in (known, unknown)]
            assert {one.status_code for one in answers} == {404}
            assert len({_anonymous(one.json(), known, unknown) for one in answers}) == 1


def test_somebody_elses_milestone_of_a_project_is_told_as_none_is(tenant: Tenant) -> None:
    known = tenant.create()["milestones"][0]["id"]
    unknown = "mil_01jd3v6k9q4m8n2p5r7s0t1w3x"
    carl = end_user(tenant, "carl", "buyer")
    answers = [carl.ask("PUT", f"/api/projects/milestones/{one}/", {"name": "x"}) for one in (known, unknown)]
    assert {one.status_code for one in answers} == {404}
    assert len({_anonymous(one.json(), known, unknown) for one in answers}) == 1


def _anonymous(problem: dict[str, Any], *ids: str) -> str:
    """All that a problem says beside the id that was asked for."""
    text = str({name: said for name, said in problem.items() if name != "request_id"})
    for one in ids:
        text = text.replace(one, "<id>")
    return text
