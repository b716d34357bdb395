"""Screening a party: a provider is asked, money freezes or goes at once, and an outage changes nothing.

Source: domain.md, section 12; edge cases 42 and 43.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from temporalio.client import WorkflowHandle

from activities.screening import ScreeningActivities
from activities.screening_providers.blocklist import BlocklistProvider
from activities.screening_providers.declared import DeclaredProvider
from activities.screening_providers.port import ScreeningProvider, ScreeningUnavailableError
from ledger import tenants
from models.commands import ApproveMilestone, Cancel, Fund, Refund
from models.errors import RefusedError
from models.escrow import Escrow
from models.payout_terms import PayoutTerms
from models.policies import CompliancePolicy, ReleasePolicy, VerifiedAbove
from models.screening import Screening, ScreeningResult, ScreenParty, Subject, screening_workflow
from models.states import PayoutStatus, State
from starter.sender import Sender
from tests.builders import new_id
from tests.gateway.test_rate_sources import publisher, sending
from tests.market import KEYS, Market
from tests.servers import Servers, soon
from tests.workers import own_namespace, pending, temporal
from tests.workflow.scene import Sandbox, Scene, seals
from tests.workflow.test_exchange_rates import worker_process
from tests.workflow.test_payouts import is_paid, key
from worker import screening_worker
from workflows.screening import ScreenPartyWorkflow

pytestmark = pytest.mark.anyio

WEEK = timedelta(days=7, seconds=1)
NAME = "Robert Roe"


class Registry:
    """An outside provider over HTTP, as somebody would write one for the port."""

    name = "registry"

    def __init__(self, url: str) -> None:
        self._url = url

    def screen(self, subject: Subject) -> Screening:
        """Ask the register of companies."""
        try:
            answer = httpx.get(self._url, params={"name": subject.name or ""}, timeout=5).raise_for_status().json()
        except httpx.HTTPError as error:
            raise ScreeningUnavailableError(f"the register cannot be asked: {type(error).__name__}") from None
        return Screening(kyc_status=answer["status"], blocked_because=answer.get("blocked"))


class Slow:
    """A provider that answers nothing before it is told to."""

    name = "slow"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = threading.Event()

    def screen(self, subject: Subject) -> Screening:
        """Remember what the party was declared to be."""
        self.asked.append(subject.kyc_status)
        assert self.may_answer.wait(30)
        return Screening()


@asynccontextmanager
async def screening(scene: Scene, provider: ScreeningProvider) -> AsyncIterator[None]:
    """A worker that asks this provider."""
    async with screening_worker(scene.client, ScreeningActivities(provider, scene.servers.engine, scene.keys)):
        yield


async def screen(scene: Scene, party: str = "bob") -> ScreeningResult:
    """Have a party screened."""
    return await scene.sender.screen_party(scene.market.tenant, party)


def workflow(scene: Scene) -> WorkflowHandle[ScreenPartyWorkflow, ScreeningResult]:
    """Bob's screening."""
    return scene.client.get_workflow_handle_for(
        ScreenPartyWorkflow.run, screening_workflow(ScreenParty(tenant=scene.market.tenant, party="bob"))
    )


def declare(scene: Scene, **known: str) -> None:
    """What the tenant says of bob."""
    tenants.put_party(scene.servers.engine, scene.market.tenant, "bob", keys=KEYS, **known)


def known(scene: Scene) -> tuple[str, str | None]:
    """Bob's KYC status and why he is blocked."""
    status = scene.market.scalar("SELECT kyc_status FROM party WHERE (tenant_id, id) = (:tenant, 'bob')")
    return status, scene.market.scalar("SELECT blocked_because FROM party WHERE (tenant_id, id) = (:tenant, 'bob')")


def clearance(scene: Scene) -> None:
    """Money is sent a week after its release, above 1,000.00 only to those who are verified."""
    engine, tenant = scene.servers.engine, scene.market.tenant
    terms = PayoutTerms(trigger="time", clearance=timedelta(days=7))
    tenants.put_policy(engine, tenant, "release", ReleasePolicy(payout=terms))
    policy = CompliancePolicy(verified_above=VerifiedAbove(payout=100000))
    tenants.put_policy(engine, tenant, "compliance", policy)


async def waiting_for_papers(scene: Scene) -> Escrow:
    """An escrow whose seller was verified when it was approved, and is not when the money should go."""
    clearance(scene)
    declare(scene, kyc_status="verified")
    escrow = await scene.at(State.MILESTONE_APPROVED)
    declare(scene, kyc_status="expired")
    await scene.advance(WEEK)
    return await scene.until(escrow, lambda now: now.payouts[0].hold == "kyc")


async def test_edge_42_papers_that_expire_between_approval_and_payout_hold_the_payout(
    scene: Scene, sandbox: Sandbox
) -> None:
    """The release stays, the money waits with its reason; a screening that finds papers sends it, not a day later."""
    escrow = await waiting_for_papers(scene)
    (payout,) = escrow.payouts
    assert (escrow.released, scene.market.balance("payable", "bob")) == (150000, 135000)
    reason = "above 1,000.00 EUR the seller has to be verified, and is expired"
    assert (payout.status, payout.reason) == (PayoutStatus.DUE, reason)
    assert escrow.attention == f"payout {payout.id} is held: {reason}"
    async with screening(scene, DeclaredProvider()):
        assert (await screen(scene)).told == 0
        assert sandbox.requests(key(payout)) == []
        declare(scene, kyc_status="verified")
        result = await screen(scene)
        assert result == ScreeningResult(provider="declared", kyc_status="verified", blocked=False, told=1)
        paid = await scene.until(escrow, is_paid)
        assert (await screen(scene)).told == 0
    assert [one["amount"] for one in sandbox.transfers(key(paid.payouts[0]))] == [135000]
    assert scene.market.balance("payable", "bob") == 0


async def test_edge_43_who_is_listed_is_frozen_and_who_is_off_the_list_is_paid(
    scene: Scene, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nothing is funded, refunded, released or sent, each with the reason; unlisted, all of it goes on at once."""
    clearance(scene)
    declare(scene, name=NAME, kyc_status="verified")
    agreed, funded = await scene.at(State.CREATED), await scene.at(State.FUNDED)
    pending, approved = await scene.at(State.MILESTONE_PENDING), await scene.at(State.MILESTONE_APPROVED)
    file = tmp_path / "list.json"
    file.write_text(json.dumps([{"name": NAME.upper(), "reason": "on the sanctions list"}]))
    async with screening(scene, BlocklistProvider(file)):
        assert await screen(scene) == ScreeningResult(provider="blocklist", kyc_status="verified", blocked=True)
        because = "screening (blocklist): on the sanctions list"
        for kind, escrow in ((Fund, agreed), (Refund, funded), (Cancel, funded), (ApproveMilestone, pending)):
            refusal = await scene.refused(kind, escrow)
            assert (refusal.code, refusal.details) == ("party_blocked", {"party": "bob", "reason": because})
            assert refusal.message == f"the seller is blocked, no money of the escrow moves: {because}"
        await scene.advance(WEEK)
        held = await scene.until(approved, lambda now: now.payouts[0].hold == "blocked")
        assert held.payouts[0].reason == f"the seller is blocked: {because}"
        (tmp_path / "new").write_text("[]")
        (tmp_path / "new").replace(file)
        assert (await screen(scene)).told == 1
        paid = await scene.until(approved, is_paid)
    assert len(sandbox.transfers(key(paid.payouts[0]))) == 1
    assert (await scene.do(Refund, funded)).refunded == 500000
    assert (await scene.do(ApproveMilestone, pending)).released == 150000


async def test_a_provider_that_is_away_is_asked_until_it_answers_and_nothing_changes_meanwhile(scene: Scene) -> None:
    """Why it waits can be seen; the answer then sends the money. No name and no reason is in any history."""
    escrow = await waiting_for_papers(scene)
    declare(scene, name=NAME)
    away = threading.Event()
    away.set()
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        body, status = ("come back later", 503) if away.is_set() else ('{"status": "verified"}', 200)
        sending(body, status)(request)

    async def failed_twice() -> bool:
        failures = [why for _, _, why in await pending(scene.client, workflow(scene))]
        return len(asked) > 1 and any("cannot be asked: HTTPStatusError" in why for why in failures)

    with publisher(answer) as url:
        async with screening(scene, Registry(url)):
            result = asyncio.create_task(screen(scene))
            await soon(lambda: _started(scene))
            await soon(failed_twice)
            assert known(scene) == ("expired", None)
            assert scene.market.escrow(escrow) == escrow
            away.clear()
            assert await result == ScreeningResult(provider="registry", kyc_status="verified", blocked=False, told=1)
            await scene.until(escrow, is_paid)
    assert "Robert+Roe" in asked[0]
    assert NAME not in (await workflow(scene).fetch_history()).to_json()


async def _started(scene: Scene) -> bool:
    found = scene.client.list_workflows(f"WorkflowId = '{workflow(scene).id}'")
    return bool([one async for one in found])


async def test_who_asks_while_a_screening_is_under_way_gets_a_later_one(scene: Scene) -> None:
    """What was declared since it read the party would else wait for a day."""
    escrow = await waiting_for_papers(scene)
    provider = Slow()

    async def asked() -> bool:
        return provider.asked == ["expired"]

    async with screening(scene, provider):
        first = asyncio.create_task(screen(scene))
        await soon(asked)
        declare(scene, kyc_status="verified")
        second = asyncio.create_task(screen(scene))
        await soon(lambda: _signals(scene, 2))
        provider.may_answer.set()
        assert {one.kyc_status for one in await asyncio.gather(first, second)} == {"verified"}
        await scene.until(escrow, is_paid)
    assert provider.asked == ["expired", "verified"]


async def _signals(scene: Scene, number: int) -> bool:
    history = await workflow(scene).fetch_history()
    return sum(one.HasField("workflow_execution_signaled_event_attributes") for one in history.events) == number


async def test_a_block_by_hand_outlasts_every_screening(scene: Scene, tmp_path: Path) -> None:
    """An operator froze the money for reasons that no list knows, so only an operator lets it move."""
    file = tmp_path / "list.csv"
    file.write_text("name,reason\n")
    tenants.block_party(scene.servers.engine, scene.market.tenant, "bob", "court order 7/26")
    async with screening(scene, BlocklistProvider(file)):
        assert (await screen(scene)).blocked
    assert known(scene) == ("none", "court order 7/26")


async def test_an_escrow_without_a_workflow_keeps_no_screening_from_its_end(scene: Scene) -> None:
    """It is not told and not counted; rebuilt, it looks at its payouts by itself."""
    escrow = await waiting_for_papers(scene)
    await scene.handle(escrow).terminate("lost")
    declare(scene, kyc_status="verified")
    async with screening(scene, DeclaredProvider()):
        assert await screen(scene) == ScreeningResult(provider="declared", kyc_status="verified", blocked=False, told=0)


async def test_a_list_with_a_mistake_is_told_to_whoever_asked(scene: Scene, tmp_path: Path) -> None:
    """Nobody is blocked or cleared by it, and the next asking reads what was mended."""
    file = tmp_path / "list.csv"
    declare(scene, name="Bob")
    file.write_text("name,reason\nRobert Roe,\n")
    async with screening(scene, BlocklistProvider(file)):
        with pytest.raises(RefusedError) as refused:
            await screen(scene)
        assert refused.value.refusal.code == "internal_error"
        assert str(refused.value) == "blocklist: list.csv: entry 1: reason: Field required"
        assert known(scene) == ("none", None)
        file.write_text("name,reason\nBob,named\n")
        assert (await screen(scene)).blocked


async def test_a_party_of_no_tenant_is_not_found(scene: Scene) -> None:
    """Refused with the usual code, and no workflow is left waiting."""
    async with screening(scene, DeclaredProvider()):
        with pytest.raises(RefusedError, match="there is no tenant") as refused:
            await scene.sender.screen_party(new_id("ten"), "bob")
    assert refused.value.refusal.code == "not_found"


async def test_a_worker_that_starts_with_a_list_screens_by_it(servers: Servers, market: Market, tmp_path: Path) -> None:
    """``python -m worker`` with HOLDFAST_BLOCKLIST set, and nothing else: workflow, activity, list, books."""
    apart = await own_namespace(servers, "worker-with-blocklist")
    file, log = tmp_path / "list.csv", tmp_path / "worker.log"
    file.write_text(f"tenant,party,name,reason\n{market.tenant},bob,,fraud in May\n")
    process = worker_process({**apart.endpoints.environment(), "HOLDFAST_BLOCKLIST": str(file)}, log)
    try:
        sender = Sender(await temporal(apart.endpoints), servers.engine, seals=seals(apart))
        assert (await sender.screen_party(market.tenant, "bob")).blocked
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
