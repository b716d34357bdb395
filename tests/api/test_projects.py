"""The milestone feature document's own routes, and the wallet's of the spend-policy document.

Source: http-contract.md.
"""

from typing import Any

import httpx
import pytest

from tests.api.service import Tenant
from tests.api.test_parties import end_user
from tests.servers import eventually

DOCUMENT = "https://files.example.com/mockups.pdf"


def plain(tenant: Tenant, method: str, path: str, body: Any = None, actor: str = "buyer:alice") -> httpx.Response:
    """A request as the document has it: it knows no Idempotency-Key."""
    headers = {"Authorization": f"Bearer {tenant.platform.key}", "Holdfast-Actor": actor}
    return tenant.http.request(method, path, json=body, headers=headers)


def milestone_path(escrow: Any, number: int = 1) -> str:
    """The document's path of a milestone."""
    return f"/api/projects/milestones/{escrow['milestones'][number - 1]['id']}/"


def test_a_projects_milestones_are_shown_as_the_document_shows_them(tenant: Tenant) -> None:
    escrow = tenant.create()
    answer = plain(tenant, "GET", f"/api/projects/{escrow['id']}/milestones/")
    first, second, third = answer.json()
    assert [one["name"] for one in (first, second, third)] == ["Design & mockups", "Frontend", "Backend & testing"]
    assert '"relative_payment": 1500.00,' in answer.text
    created = first.pop("created_date")
    assert created[:16] == escrow["created_at"][:16]
    assert first == {
        "id": escrow["milestones"][0]["id"], "project_id": escrow["id"], "name": "Design & mockups",
        "description": None, "status": "not_submitted", "relative_payment": 1500.0, "supporting_doc": None,
        "completion_date": None,
    }  # fmt: skip
    assert plain(tenant, "GET", milestone_path(escrow)).json() == first | {"created_date": created}


def test_a_milestone_goes_from_agreement_to_approval_on_the_documents_routes(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    path = milestone_path(escrow)
    update = {"name": "Design", "description": "Mockups and more", "relative_payment": 1500.00}
    changed = plain(tenant, "PUT", path, update, "seller:bob").json()
    assert (changed["name"], changed["description"], changed["status"]) == (
        "Design",
        "Mockups and more",
        "not_submitted",
    )
    tenant.alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})
    tenant.bob.post(f"/v1/escrows/{escrow['id']}/start")
    submitted = plain(tenant, "PUT", path, update | {"supporting_doc": DOCUMENT}, "seller:bob")
    assert (submitted.json()["status"], submitted.json()["supporting_doc"]) == ("submitted", DOCUMENT)
    again = plain(tenant, "PUT", path, update | {"supporting_doc": DOCUMENT}, "seller:bob")
    assert (again.status_code, again.content) == (200, submitted.content)
    approved = plain(tenant, "POST", f"{path}approve/").json()
    assert approved["status"] in {"approved", "paid"}
    assert approved["completion_date"] >= approved["created_date"]
    assert eventually(lambda: plain(tenant, "GET", path).json()["status"] == "paid")
    twice = plain(tenant, "POST", f"{path}approve/")
    assert (twice.status_code, twice.json()["code"]) == (409, "invalid_transition")


def test_amounts_are_locked_once_the_project_is_funded(tenant: Tenant) -> None:
    escrow = tenant.ready().funded()
    for change in (
        {"relative_payment": 1400},
        {"name": "Else"},
        {"relative_payment": 1400, "supporting_doc": DOCUMENT},
    ):
        answer = plain(tenant, "PUT", milestone_path(escrow), change, "seller:bob")
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert tenant.platform.get(f"/v1/milestones/{escrow['milestones'][0]['id']}")["status"] == "pending"


def test_a_supporting_document_comes_with_the_work_by_the_seller(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    path = milestone_path(escrow)
    early = plain(tenant, "PUT", path, {"name": "Design", "supporting_doc": "file.pdf"}, "seller:bob")
    assert (early.status_code, "supporting_doc" in early.json()["detail"]) == (422, True)
    tenant.alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})
    tenant.bob.post(f"/v1/escrows/{escrow['id']}/start")
    assert plain(tenant, "PUT", path, {"supporting_doc": "file.pdf"}).status_code == httpx.codes.FORBIDDEN
    assert (
        plain(tenant, "PUT", path, {"supporting_doc": "file.pdf"}, "seller:bob").json()["supporting_doc"] == "file.pdf"
    )


@pytest.mark.parametrize(
    ("currency", "amount", "said", "kept"),
    [("EUR", 500000, 1234.56, 123456), ("EUR", 500000, "1234.50", 123450), ("EUR", 500000, 1e3, 100000),
     ("JPY", 5000, 1200, 1200), ("JPY", 5000, 1200.0, 1200), ("KWD", 5000000, 1.234, 1234)],
)  # fmt: skip
def test_a_payment_is_exact_in_major_units(tenant: Tenant, currency: str, amount: int, said: Any, kept: int) -> None:
    escrow = tenant.create(currency=currency, amount=amount, milestones=[{"title": "All", "amount": amount - 1}])
    answer = plain(tenant, "PUT", milestone_path(escrow), {"relative_payment": said})
    assert answer.status_code == httpx.codes.OK, answer.text
    assert tenant.platform.get(f"/v1/milestones/{escrow['milestones'][0]['id']}")["amount"] == kept
    decimals = {"EUR": 2, "JPY": 0, "KWD": 3}[currency]
    written = answer.text.split('"relative_payment": ')[1].split(",")[0]
    assert written == f"{kept / 10**decimals:.{decimals}f}"


@pytest.mark.parametrize(
    "wrong",
    [{"relative_payment": 1.005}, {"relative_payment": "1,500"}, {"relative_payment": 0}, {"relative_payment": -1},
     {"relative_payment": True}, {"relative_payment": 1e300}, {"name": ""}, {"status": "approved"},
     {"supporting_doc": ""}, {"supporting_doc": "https://a b"}, {"supporting_doc": "x" * 201}],
)  # fmt: skip
def test_an_update_that_cannot_be_is_refused(tenant: Tenant, wrong: dict[str, Any]) -> None:
    escrow = tenant.create()
    answer = plain(tenant, "PUT", milestone_path(escrow), wrong)
    assert (answer.status_code, next(iter(wrong)) in answer.json()["detail"]) == (422, True)
    assert "pydantic" not in answer.text


@pytest.mark.parametrize(
    "written",
    ['"1e60000000"', '"1E+99999999"', '"1e-99999999"', '"0e99999999"', "1e60000000", "1e300", '"1e16"', "NaN",
     '"NaN"', '"sNaN"', '"Infinity"', "Infinity", '"-Infinity"', '"0.00001"', '"1000000000000001"', "9" * 4000,
     f'"{"9" * 100_000}"', f'"0.{"0" * 100_000}1"'],
    ids=lambda written: written[:14],
)  # fmt: skip
def test_a_payment_beyond_all_bounds_is_refused_at_once_and_not_written_out(tenant: Tenant, written: str) -> None:
    """A few bytes of an exponent are sixty million digits."""
    path = milestone_path(tenant.create())
    headers = {"Authorization": f"Bearer {tenant.platform.key}", "Content-Type": "application/json"}
    sent = f'{{"relative_payment": {written}}}'
    answer = tenant.http.put(path, content=sent, headers=headers, timeout=5)
    assert answer.status_code in {400, 422}
    assert len(answer.content) < 2000


def test_the_highest_payment_is_a_payment(tenant: Tenant) -> None:
    escrow = tenant.create(currency="JPY", amount=10**15, milestones=[{"title": "All", "amount": 10**15 - 1}])
    answer = plain(tenant, "PUT", milestone_path(escrow), {"relative_payment": 10**15})
    assert (answer.status_code, answer.json()["relative_payment"]) == (200, 10**15)


def test_other_peoples_projects_are_not_there(tenant: Tenant) -> None:
    escrow = tenant.create()
    for path in (f"/api/projects/{escrow['id']}/milestones/", milestone_path(escrow)):
        assert plain(tenant, "GET", path, actor="buyer:carl").status_code == httpx.codes.NOT_FOUND
    for path in ("/api/projects/1/milestones/", "/api/projects/milestones/1/", "/api/projects/milestones/%00/"):
        assert plain(tenant, "GET", path).status_code == httpx.codes.NOT_FOUND
        assert plain(tenant, "PUT", path, {"name": "x"}).status_code in {404, 405}


def test_the_wallets_top_up_is_the_askers_own_and_needs_a_key(tenant: Tenant) -> None:
    body = {"amount": 250_000, "currency": "EUR", "payment_method": "pm_card_visa"}
    path = "/api/v1/wallet/topup"
    unkeyed = plain(tenant, "POST", path, body)
    assert (unkeyed.status_code, unkeyed.json()["code"]) == (400, "idempotency_key_required")
    assert tenant.alice.post(path, body)["party"] == "alice"
    assert end_user(tenant, "alice", "buyer").post(path, body)["status"] == "succeeded"
    assert tenant.platform.post(path, body | {"party": "carl"})["party"] == "carl"
    unnamed = tenant.platform.ask("POST", path, body)
    assert (unnamed.status_code, "party" in unnamed.json()["detail"]) == (422, True)
    assert tenant.alice.ask("POST", path, body | {"party": "carl"}).status_code == httpx.codes.NOT_FOUND
    assert tenant.alice.get("/v1/wallets/alice")["data"][0]["balance"] == 500_000
