"""Every history that was ever committed replays with today's code, and today's code still commands the same."""

import asyncio
import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from tests.replay.record import FINGERPRINTS, HISTORIES, INCOMPATIBLE, fingerprints, play_all
from tests.servers import Servers
from tests.workers import own_namespace
from worker import WORKFLOWS

COMMITTED = sorted(path for path in HISTORIES.glob("*.json") if path.name != INCOMPATIBLE)


def replay(path: Path) -> None:
    """Replay a committed history. Raises when today's code would have commanded something else."""
    document = json.loads(path.read_text(encoding="utf-8"))
    history = WorkflowHistory.from_json(document.pop("workflow_id"), document)
    replayer = Replayer(workflows=WORKFLOWS, data_converter=pydantic_data_converter)
    asyncio.run(replayer.replay_workflow(history))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_history_replays(path: Path) -> None:
    """An escrow that was begun by an earlier version goes on with this one."""
    replay(path)


def test_a_history_that_the_code_does_not_fit_is_refused() -> None:
    """The gate can fail: a history with a child that the code never starts is not replayed."""
    with pytest.raises(Exception, match=r"(?i)nondeterminism|does not match"):
        replay(HISTORIES / INCOMPATIBLE)


def test_a_history_of_every_workflow_is_there() -> None:
    """No workflow escapes the gate."""
    texts = [path.read_text(encoding="utf-8") for path in COMMITTED]
    started = {json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"] for text in texts}  # fmt: skip  # noqa: E501
    assert started == {workflow.__name__ for workflow in WORKFLOWS}


def test_the_code_commands_what_it_commanded(servers: Servers) -> None:
    """Amounts, durations and names of every command are those on record, which replay does not compare."""
    # In a namespace where no other worker takes the recorder's tasks: the tests' own one encrypts what it writes.
    apart = asyncio.run(own_namespace(servers, "replay"))
    today = fingerprints(play_all(apart))
    assert today == json.loads(FINGERPRINTS.read_text(encoding="utf-8"))
