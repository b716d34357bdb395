"""What a screening writes about a party, and which payouts it lets go: in PostgreSQL, without any workflow."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import tenants
from ledger.parties import lifted_payouts, record_screening, subject
from models.commands import RequestPayout
from models.errors import RefusedError
from models.escrow import Escrow
from models.payout_terms import PayoutTerms
from models.policies import CompliancePolicy, ReleasePolicy, VerifiedAbove
from models.screening import LiftedPage, Screening, ScreenParty
from models.states import State
from tests.builders import new_id
from tests.market import KEYS, Market
from tests.servers import Servers, eventually, one

VERIFIED = Screening(kyc_status="verified")
LISTED = Screening(blocked_because="on the list")
CLEAR = Screening()


def bob(market: Market) -> ScreenParty:
    """The seller."""
    return ScreenParty(tenant=market.tenant, party="bob")


def screened(market: Market, answer: Screening) -> tuple[str, str | None]:
    """Record an answer about bob; his status and block after it."""
    result = record_screening(market.engine, bob(market), "blocklist", answer)
    status = market.scalar("SELECT kyc_status FROM party WHERE (tenant_id, id) = (:tenant, 'bob')")
    because = market.scalar("SELECT blocked_because FROM party WHERE (tenant_id, id) = (:tenant, 'bob')")
    assert (result.kyc_status, result.blocked) == (status, because is not None)
    return status, because


def lifted(market: Market, after: str = "") -> list[str]:
    """The payouts of bob that need not be held any more."""
    page = LiftedPage(tenant=market.tenant, party="bob", after=after)
    return [held.payout for held in lifted_payouts(market.engine, page)]


def held(market: Market, trigger: str = "event") -> Escrow:
    """An escrow whose payout waits for bob's papers."""
    policy = CompliancePolicy(verified_above=VerifiedAbove(payout=100000))
    tenants.put_policy(market.engine, market.tenant, "compliance", policy)
    release = ReleasePolicy(payout=PayoutTerms.model_validate({"trigger": trigger}))
    tenants.put_policy(market.engine, market.tenant, "release", release)
    escrow = market.at(State.MILESTONE_APPROVED)
    assert escrow.payouts[0].hold == "kyc"
    return escrow


def test_an_answer_is_written_down_and_silence_leaves_what_was_declared(market: Market) -> None:
    """A status that the provider gives replaces the tenant's; none leaves it."""
    assert screened(market, CLEAR) == ("none", None)
    assert screened(market, VERIFIED) == ("verified", None)
    assert screened(market, LISTED) == ("verified", "screening (blocklist): on the list")
    assert screened(market, CLEAR) == ("verified", None)


def test_what_was_blocked_by_hand_is_unblocked_by_hand(market: Market) -> None:
    """A screening neither lifts nor rewords it; once it is lifted, the provider's own block comes."""
    tenants.block_party(market.engine, market.tenant, "bob", "court order 7/26")
    assert screened(market, CLEAR) == ("none", "court order 7/26")
    assert screened(market, LISTED) == ("none", "court order 7/26")
    tenants.block_party(market.engine, market.tenant, "bob", None)
    assert screened(market, LISTED) == ("none", "screening (blocklist): on the list")


def test_a_party_that_nobody_told_of_can_be_screened(market: Market) -> None:
    """Parties are known by their use; an unknown tenant is refused."""
    zoe = ScreenParty(tenant=market.tenant, party="zoe")
    assert (subject(market.engine, KEYS, zoe).name, subject(market.engine, KEYS, zoe).kyc_status) == (None, "none")
    assert record_screening(market.engine, zoe, "blocklist", LISTED).blocked
    with pytest.raises(RefusedError, match="there is no tenant"):
        subject(market.engine, KEYS, ScreenParty(tenant=new_id("ten"), party="zoe"))


def test_only_payouts_whose_hold_has_lost_its_reason_are_let_go(market: Market) -> None:
    """Those that wait for papers when there are papers, those of a block when there is none, and none of others."""
    (payout,) = held(market).payouts
    assert lifted(market) == []
    screened(market, VERIFIED)
    assert (lifted(market), lifted(market, after=payout.id)) == ([payout.id], [])
    tenants.put_party(market.engine, market.tenant, "bob", kyc_status="expired")
    assert lifted(market) == []


def test_a_hold_whose_reason_has_become_another_is_looked_at_again(market: Market) -> None:
    """Blocked instead of unverified, and back: the payout says what holds it now."""
    escrow = held(market)
    screened(market, LISTED)
    assert lifted(market) == [escrow.payouts[0].id]
    assert market.do(RequestPayout, escrow).payouts[0].hold == "blocked"
    assert lifted(market) == []
    screened(market, CLEAR)
    assert lifted(market) == [escrow.payouts[0].id]
    assert market.do(RequestPayout, escrow).payouts[0].hold == "kyc"


def test_money_that_waits_to_be_asked_for_is_not_asked_for_by_a_screening(market: Market) -> None:
    """Under trigger manual the seller says when; papers alone send nothing."""
    escrow = held(market, trigger="manual")
    screened(market, VERIFIED)
    assert lifted(market) == []
    tenants.put_party(market.engine, market.tenant, "bob", kyc_status="expired")
    assert market.refused(RequestPayout, escrow).details["hold"] == "kyc"
    screened(market, VERIFIED)
    assert lifted(market) == []
    assert market.do(RequestPayout, escrow).payouts[0].going


def test_a_release_that_knew_the_party_as_it_was_is_waited_for(servers: Servers, market: Market) -> None:
    """It keeps bob's lock while it decides, so its payout is held before anybody reads which payouts are."""
    held(market)
    with ThreadPoolExecutor(1) as pool, servers.app() as release, servers.superuser() as watching:
        release.execute("SELECT lock_parties(%s, 'EUR', 'bob')", (market.tenant,))
        done = threading.Event()
        screening = pool.submit(screened, market, VERIFIED)
        screening.add_done_callback(lambda _: done.set())
        eventually(lambda: one(watching, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        query = "SELECT kyc_status FROM party WHERE (tenant_id, id) = (%s, 'bob')"
        assert one(watching, query, market.tenant) == "verified"
        assert not done.is_set()
        release.rollback()
        assert screening.result(20) == ("verified", None)
