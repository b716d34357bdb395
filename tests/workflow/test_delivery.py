"""The delivery workflow on real servers: it goes on for ever, gets in nobody's way, and starts by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import notifications
from activities.channels.port import Channel
from activities.notifications import Courier, NotificationActivities
from ledger.engine import connect
from ledger.outbox import Outbox
from models.commands import ApproveMilestone
from models.states import PayoutStatus, State
from starter.delivery import DELIVERY, ensure_delivery
from tests.market import KEYS, Market
from tests.post_office import PostOffice, post_office
from tests.servers import soon
from tests.telling import address, head, make_due, told, towns, waiting
from tests.workers import Workers, pending
from tests.workflow.scene import Scene
from tests.workflow.test_outages import no_database
from worker import notifications_worker
from workflows import timeouts

pytestmark = pytest.mark.anyio
ALICE = ["escrow.created", "escrow.funded", "escrow.started", "milestone.submitted"]


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A post office of the test's own."""
    with post_office() as open_office:
        yield open_office


@pytest.fixture
def town(alone: Scene) -> Iterator[Market]:
    """The scene's market, whose parties have addresses, with nothing left to tell."""
    with towns(alone.market) as town:
        yield town


@asynccontextmanager
async def tellers(scene: Scene, *channels: Channel) -> AsyncIterator[None]:
    """The worker that tells the news in the scene's namespace, with a pool of its own."""
    engine = connect(scene.servers.endpoints.database_url, timeouts.DELIVERY_LANES)
    courier = Courier(Outbox(engine, KEYS), channels)
    async with notifications_worker(scene.client, NotificationActivities(courier)):
        await ensure_delivery(scene.client)
        yield
    engine.dispose()


async def test_a_deal_is_told_while_it_goes_on(alone: Scene, town: Market, office: PostOffice) -> None:
    """What commands through Temporal do is in people's mail soon after, in order."""
    with Workers(alone.servers):
        async with tellers(alone, office.channel()):
            escrow = await alone.at(State.MILESTONE_APPROVED)
            await alone.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)

            async def all_told() -> bool:
                return not waiting(town, escrow)

            await soon(all_told)
    assert told(office, town, "alice") == ALICE
    assert told(office, town, "bob")[-3:] == ["milestone.approved", "payout.sent", "payout.paid"]


async def test_a_dead_mail_server_keeps_no_money_back(alone: Scene, town: Market) -> None:
    """A release and its payout go through while no mail does; the news wait, visibly, and are told later."""
    with post_office() as office:
        channel, port = office.channel(), office.port
    with Workers(alone.servers):
        async with tellers(alone, channel):
            escrow = await alone.at(State.MILESTONE_PENDING)

            async def has_failed() -> object:
                return head(town, "attempts > 1", escrow)

            await soon(has_failed)
            approved = await alone.do(ApproveMilestone, escrow)
            assert approved.released == 150000
            await alone.until(escrow, lambda now: now.payouts[0].status == PayoutStatus.PAID)
            assert len(waiting(town, escrow)) == len(town.events(escrow))
            assert "ConnectionRefusedError" in str(head(town, "last_error", escrow))
            with post_office(port=port) as office:
                make_due(town)

                async def all_told() -> bool:
                    make_due(town)
                    return not waiting(town, escrow)

                await soon(all_told)
    assert told(office, town, "alice") == ALICE


async def test_it_goes_on_with_a_fresh_history(
    alone: Scene, town: Market, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some rounds the workflow continues as new, and still tells."""
    monkeypatch.setattr(timeouts, "DELIVERY_ROUNDS", 1)
    monkeypatch.setattr(notifications, "_DRAIN_FOR_SECONDS", 0)
    async with tellers(alone, office.channel()):
        first = (await alone.client.get_workflow_handle(DELIVERY).describe()).run_id

        async def renewed() -> bool:
            return (await alone.client.get_workflow_handle(DELIVERY).describe()).run_id != first

        await soon(renewed)
        monkeypatch.setattr(notifications, "_DRAIN_FOR_SECONDS", 60)
        escrow = town.at(State.FUNDED)

        async def all_told() -> bool:
            return not waiting(town, escrow)

        await soon(all_told)
    assert told(office, town, "bob") == ["escrow.created", "escrow.funded"]


async def test_it_is_started_once_and_again_when_somebody_ended_it(alone: Scene) -> None:
    """Every worker starts it; there is one. Terminated by hand, the next worker's start brings it back."""
    first, second = await asyncio.gather(ensure_delivery(alone.client), ensure_delivery(alone.client))
    assert first.result_run_id is not None
    assert (await second.describe()).run_id == (await first.describe()).run_id
    await first.terminate("by hand")
    await ensure_delivery(alone.client)
    described = await alone.client.get_workflow_handle(DELIVERY).describe()
    assert described.status == WorkflowExecutionStatus.RUNNING
    assert described.run_id != first.result_run_id


async def test_edge_47_without_postgresql_it_waits_visibly_and_does_not_spin(
    alone: Scene, town: Market, office: PostOffice
) -> None:
    """The activities are pending with a brief reason, each attempt later than the one before; then all is told."""
    escrow = town.at(State.FUNDED)
    handle = alone.client.get_workflow_handle(DELIVERY)
    with no_database(alone.servers):
        async with tellers(alone, office.channel()):

            async def retried() -> list[tuple[int, str]]:
                found = [(attempt, why) for _, attempt, why in await pending(alone.client, handle) if attempt > 2]
                return found if len(found) == timeouts.DELIVERY_LANES else []

            began = monotonic()
            failures = await soon(retried)
            assert all("holdfast_app" in why for _, why in failures)
            assert max(attempt for attempt, _ in failures) <= 2 + (monotonic() - began)
    async with tellers(alone, office.channel()):

        async def all_told() -> bool:
            return not waiting(town, escrow)

        await soon(all_told, within=40)
    assert told(office, town, "alice") == ["escrow.created", "escrow.funded"]


async def test_a_worker_that_shuts_down_does_not_wait_for_the_minute_to_end(
    alone: Scene, town: Market, office: PostOffice
) -> None:
    """An idle teller ends at once, and the next worker's goes on where it was."""
    async with tellers(alone, office.channel()):
        first = town.at(State.CREATED)

        async def first_told() -> bool:
            return not waiting(town, first)

        await soon(first_told)
        began = monotonic()
    assert monotonic() - began < 5
    second = town.at(State.CREATED)
    async with tellers(alone, office.channel()):

        async def second_told() -> bool:
            return not waiting(town, second)

        await soon(second_told)
    assert told(office, town, "alice") == ["escrow.created", "escrow.created"]
    assert {mail.to for mail in office.arrived} == {address(town, "alice"), address(town, "bob")}
