"""What operators see in Temporal without decoding a payload: lists by state, summaries, live details."""

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata

from models.commands import ApproveMilestone, RaiseDispute, ReleaseOverride, ReverseMilestone
from models.escrow import Escrow
from models.states import PayoutStatus, State
from tests.servers import soon
from tests.workflow.scene import Sandbox, Scene

pytestmark = pytest.mark.anyio


async def listed(scene: Scene, query: str) -> set[str]:
    """The ids of this tenant's workflows that a list query finds."""
    tenant = f'HoldfastTenant = "{scene.market.tenant}"'
    return {one.id async for one in scene.client.list_workflows(f"{tenant} AND {query}")}


async def finds(scene: Scene, query: str, *escrows: Escrow) -> None:
    """Wait until the query finds exactly these escrows; visibility follows a little later."""
    wanted = {f"escrow:{escrow.id}" for escrow in escrows}

    async def found() -> bool:
        return await listed(scene, query) == wanted

    await soon(found)


async def details(scene: Scene, escrow: Escrow) -> str:
    """The current details as the UI shows them."""
    shown: WorkflowMetadata = await scene.handle(escrow).query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return str(shown.current_details)


async def test_escrows_are_found_by_state_party_currency_and_need_of_attention(scene: Scene, sandbox: Sandbox) -> None:
    """Every search attribute finds the escrows it should, and no others."""
    fresh = await scene.create()
    working = await scene.at(State.IN_PROGRESS, buyer="alice", currency="EUR")
    disputed = await scene.at(State.DISPUTED)
    await finds(scene, 'HoldfastState = "created"', fresh)
    await finds(scene, 'HoldfastState = "in_progress"', working)
    await finds(scene, 'HoldfastState = "disputed"', disputed)
    await finds(scene, 'HoldfastBuyer = "alice" AND HoldfastCurrency = "EUR"', fresh, working, disputed)
    await finds(scene, 'HoldfastSeller = "alice"')
    await finds(scene, "HoldfastNeedsAttention = true", disputed)
    sandbox.fault("transfer", "decline", match={"destination": scene.market.destination})
    failing = await scene.at(State.MILESTONE_APPROVED)
    await scene.until(failing, lambda now: now.payouts[0].status == PayoutStatus.FAILED)
    await finds(scene, "HoldfastNeedsAttention = true", disputed, failing)


async def test_the_next_deadline_can_be_searched_for_and_goes_when_there_is_none(scene: Scene) -> None:
    """Operators find what will happen this week; a dispute takes the deadline away."""
    soon_due = await scene.at(State.MILESTONE_PENDING, release=ReleaseOverride(review_window=timedelta(days=2)))
    await scene.at(State.MILESTONE_PENDING)
    week = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    await finds(scene, f'HoldfastNextDeadline < "{week}"', soon_due)
    await scene.do(RaiseDispute, soon_due)
    await finds(scene, f'HoldfastNextDeadline < "{week}"')


async def test_an_attribute_is_written_only_when_it_changes(scene: Scene) -> None:
    """Those given at the start cost no event, and a command that changes none adds none."""
    escrow = await scene.create()
    assert "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES" not in await scene.history(escrow)
    escrow = await scene.at(State.IN_PROGRESS)
    before = (await scene.history(escrow)).count("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES")
    await scene.do(ReverseMilestone, escrow, amount=1)
    assert (await scene.history(escrow)).count("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES") == before


async def test_summary_and_details_tell_the_agreement_and_how_it_stands(scene: Scene) -> None:
    """One line beside the id, the agreement below, and live details: state, money, who is waited for, until when."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    described = await scene.handle(escrow).describe()
    assert await described.static_summary() == "5,000.00 EUR from alice to bob"
    agreement = await described.static_details()
    assert agreement is not None
    assert "| Part 2 | 2,000.00 EUR |" in agreement
    shown = await details(scene, escrow)
    due = escrow.next_deadline
    assert due is not None
    assert f"waits for the buyer to review milestone 1, until {due.due_at:%Y-%m-%d %H:%M} UTC" in shown
    assert "held 5,000.00 EUR" in shown
    await scene.do(ApproveMilestone, escrow)
    assert "released 1,500.00 EUR" in await details(scene, escrow)


async def test_nothing_of_a_party_but_its_opaque_id_is_in_clear(scene: Scene) -> None:
    """Search attributes, summaries and details show ids and amounts: no title, no description, no evidence."""
    escrow = await scene.at(State.MILESTONE_PENDING, title="Secret project of Alice Miller")
    described = await scene.handle(escrow).describe()
    clear = [await described.static_summary(), await described.static_details(), await details(scene, escrow)]
    assert not any("Miller" in str(text) for text in clear)
    assert "Miller" not in str(described.raw_description.workflow_execution_info.search_attributes)
