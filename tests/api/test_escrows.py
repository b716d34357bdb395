"""A deal over HTTP, from the agreement to the payout. Source: http-contract.md."""

import httpx

from tests.api.service import Tenant


def test_a_deal_goes_from_agreement_to_release_by_http_alone(tenant: Tenant) -> None:
    tenant.ready()
    escrow = tenant.submitted()
    after = tenant.alice.post(f"/v1/milestones/{escrow['milestones'][0]['id']}/approve")
    assert (after["state"], after["released"], after["held"]) == ("milestone_approved", 150000, 350000)


def test_the_same_key_answers_the_same_and_moves_nothing_again(tenant: Tenant) -> None:
    escrow = tenant.ready().submitted()
    path = f"/v1/milestones/{escrow['milestones'][0]['id']}/approve"
    first = tenant.alice.ask("POST", path, key="approve-1")
    again = tenant.alice.ask("POST", path, key="approve-1")
    assert first.status_code == again.status_code == httpx.codes.OK
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["ETag"] == again.headers["ETag"]


def test_another_tenants_escrow_is_not_there(tenant: Tenant) -> None:
    other = tenant.api.tenant()
    escrow = tenant.create()
    assert other.platform.ask("GET", f"/v1/escrows/{escrow['id']}").status_code == httpx.codes.NOT_FOUND
