"""Programs that speak Temporal: the README's own lines, and a sender for one tenant with the API's role."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.engine import connect
from models.commands import ApproveMilestone, Fund, StartWork
from models.errors import RefusedError
from models.states import State
from starter.sender import Sender
from tests.builders import a_create, new_id, order
from tests.market import Market
from tests.workflow.scene import Scene, seals

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


async def test_the_readmes_lines_approve_a_milestone(scene: Scene) -> None:
    """As they stand there, with the variables of a stack."""
    (lines,) = re.findall(
        r"^```python\n(import asyncio\n.*?ApproveMilestone.*?)^```$", _readme(), re.DOTALL | re.MULTILINE
    )
    escrow = await scene.at(State.MILESTONE_PENDING)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", lines.replace("esc_…", escrow.id)],
        cwd=ROOT,
        env={**os.environ, **scene.servers.endpoints.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "milestone_approved 150000\n"), done.stderr
    assert scene.market.escrow(escrow).released == 150000


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


async def test_a_tenants_sender_reaches_its_own_escrows_and_nobody_elses(scene: Scene) -> None:
    """Under the API's role: not found before anything is sent, and nothing is on record with the other tenant."""
    engine = connect(scene.servers.endpoints.api_database_url, 2)
    other = Market(scene.servers.engine)
    try:
        every = Sender(scene.client, engine, seals=seals(scene.servers))
        mine, theirs = every.for_tenant(scene.market.tenant), every.for_tenant(other.tenant)
        escrow = await mine.send(a_create(tenant=scene.market.tenant))
        with pytest.raises(RefusedError) as refused:
            await mine.send(order(ApproveMilestone, escrow))
        assert refused.value.refusal.code == "invalid_transition"
        fresh = Sender(scene.client, engine, seals=seals(scene.servers), tenant=other.tenant)
        for wrong in (theirs, fresh, Sender(scene.client, engine, seals=seals(scene.servers))):
            with pytest.raises(RefusedError) as refused:
                await wrong.send(order(Fund, escrow))
            assert refused.value.refusal.code == "not_found"
        with pytest.raises(RefusedError) as refused:
            await theirs.send(a_create(tenant=scene.market.tenant))
        assert refused.value.refusal.code == "not_found"
        with pytest.raises(RefusedError) as refused:
            await theirs.top_up(scene.market.charge(700))
        assert refused.value.refusal.code == "not_found"
    finally:
        engine.dispose()
    assert scene.market.answers(escrow) == [("create", "accepted"), ("approve_milestone", "invalid_transition")]


async def test_an_escrow_that_is_not_there_is_not_found(scene: Scene) -> None:
    """Whoever asks."""
    unknown = (await scene.create()).model_copy(update={"id": new_id("esc")})
    assert (await scene.refused(StartWork, unknown)).code == "not_found"
