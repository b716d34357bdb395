"""Policies, templates, fee quotes and exchange rates. Source: http-contract.md, "Routes" and "A fee policy"."""

from typing import Any, Final

import httpx
import pytest

from tests.api.service import Caller, Tenant

FEES: Final[dict[str, Any]] = {
    "pin_at": "release",
    "rules": [
        {"outcome": "release", "category": "*", "rate": "0.10", "payer": "seller"},
        {
            "outcome": "release",
            "category": "design",
            "tiers": {
                "mode": "graduated",
                "basis": "deal_amount",
                "bands": [{"from": 0, "rate": "0.20"}, {"from": 50000, "rate": "0.10"}],
            },
        },
        {"outcome": "refund", "category": "*", "rate": "0"},
        {"outcome": "split", "category": "*", "rate": "0.10"},
        {"outcome": "reversal", "category": "*", "rate": "0"},
    ],
    "dispute_fee": {"amount": 1500, "payer": "loser"},
}
RATE: Final = {"base": "EUR", "quote": "USD", "rate": "1.08", "as_of": "2026-11-20"}


def test_a_policy_is_answered_as_it_was_written_and_every_version_stays(tenant: Tenant) -> None:
    first = tenant.platform.ask("POST", "/v1/policies/fees", FEES)
    assert (first.status_code, first.json()["version"]) == (201, 1)
    document = first.json()["document"]
    assert document["rules"][0]["rate"] == "0.10"
    assert document["rules"][1]["tiers"] == FEES["rules"][1]["tiers"]
    assert document["dispute_fee"] == FEES["dispute_fee"]
    assert tenant.platform.post("/v1/policies/fees", document)["version"] == 1
    second = tenant.platform.post("/v1/policies/fees", FEES | {"dispute_fee": None})
    assert tenant.platform.get("/v1/policies/fees") == second
    assert second["version"] == 2
    assert tenant.platform.get("/v1/policies/fees/1") == first.json()
    assert tenant.platform.ask("GET", "/v1/policies/fees/3").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("release", {"review_window": "P7D", "reminders": ["P5D"], "payout": {"trigger": "time", "clearance": "P2D"}}),
        ("dispute", {"response_window": "P10D", "default_outcome": "buyer_favor"}),
        ("spend", {"reserve": {"EUR": 500}, "wallet_gate": True}),
        ("compliance", {"verified_above": {"funding": 100000, "payout": None}}),
    ],
)
def test_every_kind_of_policy_can_be_written(tenant: Tenant, kind: str, document: dict[str, Any]) -> None:
    missing = tenant.platform.ask("GET", f"/v1/policies/{kind}")
    assert (missing.status_code, missing.json()["default"].keys() >= document.keys()) == (404, True)
    tenant.platform.post(f"/v1/policies/{kind}", document)
    written = tenant.platform.get(f"/v1/policies/{kind}")["document"]
    for name, value in document.items():
        told = written[name]
        assert (told | value if isinstance(value, dict) else value) == told


def test_what_is_wrong_with_a_policy_is_named(tenant: Tenant) -> None:
    rules = [{"outcome": "release", "category": "*", "rate": 0.1}]
    answer = tenant.platform.ask("POST", "/v1/policies/fees", {"rules": rules})
    assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, "rules.0.rate")
    unknown = tenant.platform.ask("POST", "/v1/policies/spend", {"reserve": {}, "limit": 5})
    assert (unknown.status_code, unknown.json()["errors"][0]["at"]) == (422, "limit")
    for path in ("/v1/policies/refunds", "/v1/policies/refunds/1", "/v1/policies/%00"):
        assert tenant.platform.ask("GET", path).status_code == httpx.codes.NOT_FOUND
    assert tenant.platform.ask("GET", "/v1/policies/fees/99999999999").status_code == 422


@pytest.mark.parametrize(
    ("kind", "document", "place"),
    [
        ("compliance", {"verified_above": {"funding": 10**30}}, "verified_above.funding"),
        ("compliance", {"verified_above": {"payout": 10**15 + 1}}, "verified_above.payout"),
        ("spend", {"reserve": {"EUR": 10**30}}, "reserve.EUR"),
        ("release", {"payout": {"minimum": 10**4000}}, "payout.minimum"),
        ("fees", {"rules": [{"outcome": "release", "rate": "0.1", "fixed": 10**30}]}, "rules[0]"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_no_amount_of_a_policy_is_above_every_amount(
    tenant: Tenant, kind: str, document: dict[str, Any], place: str
) -> None:
    answer = tenant.platform.ask("POST", f"/v1/policies/{kind}", document)
    assert (answer.status_code, place in answer.json()["detail"]) == (422, True), answer.text
    assert len(answer.content) < 1000
    assert tenant.platform.ask("GET", f"/v1/policies/{kind}").status_code == httpx.codes.NOT_FOUND
    highest = {"verified_above": {"funding": 10**15, "payout": 0}}
    assert tenant.platform.post("/v1/policies/compliance", highest)["document"] == highest


def test_policies_are_not_for_parties(tenant: Tenant) -> None:
    tenant.platform.post("/v1/policies/fees", FEES)
    for party in (tenant.alice, tenant.bob):
        assert party.ask("POST", "/v1/policies/fees", FEES).status_code == httpx.codes.FORBIDDEN
        assert party.ask("GET", "/v1/policies/fees").status_code == httpx.codes.FORBIDDEN
        assert party.ask("POST", "/v1/templates", {}).status_code in {403, 422}


def test_templates_are_the_tenants_own_and_those_built_in(tenant: Tenant) -> None:
    halves = [{"title": "First half", "percent": "50"}, {"title": "Second half", "percent": "50", "days": 7}]
    for name in ("halves", "again"):
        made = tenant.platform.ask("POST", "/v1/templates", {"name": name, "milestones": halves})
        assert (made.status_code, made.json()["built_in"]) == (201, False)
    everything = tenant.alice.get("/v1/templates")
    assert [one["name"] for one in everything["data"]] == ["again", "halves", "wedding", "party", "merit"]
    assert everything["data"][2]["milestones"][0]["percent"] == "30"
    names, page = [], tenant.platform.get("/v1/templates?limit=2")
    while True:
        names += [one["name"] for one in page["data"]]
        if not page["has_more"]:
            break
        page = tenant.platform.get(f"/v1/templates?limit=2&starting_after={names[-1]}")
    assert names == [one["name"] for one in everything["data"]]
    taken = tenant.platform.ask("POST", "/v1/templates", {"name": "wedding", "milestones": halves})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    short = tenant.platform.ask("POST", "/v1/templates", {"name": "short", "milestones": halves[:1]})
    assert (short.status_code, "sum to 50" in short.json()["detail"]) == (422, True)
    escrow = tenant.create(milestones=[], template="halves", event_date="2026-06-15")
    assert [one["amount"] for one in escrow["milestones"]] == [250000, 250000]


def quote(caller: Caller, **said: Any) -> httpx.Response:
    """Ask what a release of 1,500 euros would come to, without an Idempotency-Key."""
    headers = {"Authorization": f"Bearer {caller.key}"} | ({"Holdfast-Actor": caller.actor} if caller.actor else {})
    body = {"outcome": "release", "category": "web", "amount": 150000, "currency": "EUR"} | said
    return caller.http.post("/v1/fee-quotes", json=body, headers=headers)


def test_a_quote_is_the_division_that_is_then_settled(tenant: Tenant) -> None:
    assert quote(tenant.platform).json()["code"] == "fee_policy_not_found"
    escrow = tenant.ready().submitted()
    tenant.platform.post("/v1/policies/fees", FEES)
    found = quote(tenant.platform)
    assert found.status_code == httpx.codes.OK
    told = found.json()
    assert (told["platform_fee"], told["seller_payout"], told["buyer_refund"], told["total"]) == (
        15000, 135000, 0, 150000,
    )  # fmt: skip
    assert (told["payer"], told["fee_rule"], told["fee_rate"], told["fee_policy_version"]) == (
        "seller", "release/*", "0.10", 2,
    )  # fmt: skip
    tenant.alice.post(f"/v1/milestones/{escrow['milestones'][0]['id']}/approve")
    (settled,) = tenant.platform.get(f"/v1/escrows/{escrow['id']}/settlements")["data"]
    shared = told.keys() & settled.keys()
    assert shared >= {"outcome", "total", "platform_fee", "seller_payout", "buyer_refund", "fee_steps", "fee_rule"}
    assert {name: told[name] for name in shared} == {name: settled[name] for name in shared}


def test_a_quote_of_a_split_or_of_tiers_shows_its_steps(tenant: Tenant) -> None:
    tenant.platform.post("/v1/policies/fees", FEES)
    split = quote(tenant.platform, outcome="split", amount=100000, seller_share="0.7").json()
    assert (split["platform_fee"], split["seller_payout"], split["buyer_refund"]) == (10000, 63000, 27000)
    tiers = quote(tenant.alice, category="design", amount=60000).json()
    assert (tiers["platform_fee"], tiers["fee_rate"], len(tiers["fee_steps"])) == (11000, None, 4)
    assert quote(tenant.platform, outcome="split").status_code == 422
    assert quote(tenant.platform, seller_share="0.7").status_code == 422
    assert quote(tenant.alice, seller="bob").status_code == httpx.codes.NOT_FOUND
    assert quote(tenant.bob, seller="bob").status_code == httpx.codes.OK


def own_rates(tenant: Tenant, query: str) -> list[dict[str, Any]]:
    """What the tenant was told itself; everyone's rates are other tests' doing."""
    found = tenant.platform.get(f"/v1/exchange-rates?{query}")["data"]
    return [one for one in found if one["source"] == "operator"]


def test_an_exchange_rate_is_told_by_operators_and_listed_for_the_platform(tenant: Tenant) -> None:
    assert tenant.platform.ask("PUT", "/v1/exchange-rates", RATE).status_code == httpx.codes.FORBIDDEN
    told = tenant.operator.put("/v1/exchange-rates", RATE)
    assert told == {"id": "EUR-USD", **RATE, "source": "operator"}
    tenant.operator.put("/v1/exchange-rates", RATE | {"as_of": "2026-11-19", "rate": "1.07"})
    tenant.operator.put("/v1/exchange-rates", RATE | {"quote": "THB", "rate": "37.5", "as_of": "2026-11-18"})
    listed = own_rates(tenant, "limit=100")
    assert listed[0] == told
    assert [(one["id"], one["rate"]) for one in listed] == [("EUR-USD", "1.08"), ("EUR-THB", "37.5")]
    assert own_rates(tenant, "limit=100&starting_after=EUR-USD") == listed[1:]
    assert len(tenant.platform.get("/v1/exchange-rates?limit=1")["data"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 1.08}, {"rate": "0"}, {"rate": "1e3"}, {"base": "EURO"}, {"as_of": "yesterday"}, {"quote": "EUR"}],
)
def test_a_rate_that_cannot_be_is_refused(tenant: Tenant, wrong: dict[str, Any]) -> None:
    assert tenant.operator.ask("PUT", "/v1/exchange-rates", RATE | wrong).status_code == 422
    assert own_rates(tenant, "limit=100") == []
