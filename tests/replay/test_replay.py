"""Every history that was ever committed replays with today's code, and today's code still commands the same."""

import asyncio
import importlib
import json
import pkgutil
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

import workflows
from tests.replay.record import FINGERPRINTS, fingerprints, play_all, stale
from tests.replay.releases import HISTORIES, changelog, folder, released, version
from tests.servers import Servers
from tests.workers import own_namespace

COMMITTED = sorted(HISTORIES.glob("*/*.json"))
CURRENT = HISTORIES / version()


def every_workflow() -> dict[str, type]:
    """All workflows of the folder, by name, whichever worker has them."""
    modules = [importlib.import_module(f"workflows.{one.name}") for one in pkgutil.iter_modules(workflows.__path__)]
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    return {kind.__name__: kind for kind in kinds if hasattr(kind, "__temporal_workflow_definition")}


WORKFLOWS = every_workflow()


def replay(text: str) -> None:
    """Replay a committed history. Raises when today's code would have commanded something else."""
    document = json.loads(text)
    history = WorkflowHistory.from_json(document.pop("workflow_id"), document)
    replayer = Replayer(workflows=[WORKFLOWS[_workflow(text)]], data_converter=pydantic_data_converter)
    asyncio.run(replayer.replay_workflow(history))


def _workflow(text: str) -> str:
    """The name of the workflow whose history this is."""
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return str(started["workflowType"]["name"])


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_committed_history_replays(path: Path) -> None:
    """An escrow that was begun by an earlier version goes on with this one."""
    replay(path.read_text(encoding="utf-8"))


def test_a_history_that_the_code_does_not_fit_is_refused() -> None:
    """The gate can fail: what a careless rename leaves behind, a history with a child that the code never starts."""
    website = (CURRENT / "website-0.json").read_text(encoding="utf-8")
    with pytest.raises(Exception, match=r"(?i)nondeterminism|does not match"):
        replay(website.replace('"PayoutWorkflow"', '"SettlementWorkflow"'))


def test_a_history_of_every_workflow_is_there_for_every_version() -> None:
    """No workflow escapes the gate, and no version: this one is recorded, and others are released ones."""
    recorded = {_workflow(path.read_text(encoding="utf-8")) for path in CURRENT.glob("*.json")}
    assert recorded == set(WORKFLOWS), "make record"
    others = {path.name for path in HISTORIES.iterdir()} - {version()}
    assert others == {one for one in others if released(changelog(), one)}


def test_the_folder_of_a_released_version_is_not_recorded_again() -> None:
    """A heading with a date closes it; what to do is said."""
    log = "# Changelog\n\n## 0.2.0 (unreleased)\n\n## 0.1.0 (2026-12-01)\n"
    assert folder(log, "0.2.0") == HISTORIES / "0.2.0"
    assert not released(log, "0.3.0")
    for heading in ("## 0.1.0 (2026-12-01)", "## 0.1.0", "## 0.1.0 - 2026-12-01"):
        with pytest.raises(SystemExit, match="Raise the version"):
            folder(f"## 0.1.0.1 (unreleased)\n{heading}\n## 0.1 (unreleased)\n", "0.1.0")


def test_only_stories_that_changed_are_written_again() -> None:
    """What is recorded keeps its history; what is new, missing or different is written."""
    known = {"same": [["a"]], "changed": [["a"]], "lost": [["a"]]}
    played = {"same": [["a"]], "changed": [["b"]], "lost": [["a"]], "new": [["a"]]}
    assert stale(played, known, {"same", "changed"}) == {"changed", "lost", "new"}


def test_the_code_commands_what_it_commanded(servers: Servers) -> None:
    """Amounts, durations and names of every command are those on record, which replay does not compare."""
    # In a namespace where no other worker takes the recorder's tasks: the tests' own one encrypts what it writes.
    apart = asyncio.run(own_namespace(servers, "replay"))
    today = fingerprints(play_all(apart))
    assert today == json.loads(FINGERPRINTS.read_text(encoding="utf-8"))
