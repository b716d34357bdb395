"""The sandbox of workflow code: every escrow loads its own file anew, and nothing else that costs time or memory."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from tests.builders import new_id
from tests.workflow.careless import Careless
from tests.workflow.scene import Scene
from worker import WORKFLOWS

pytestmark = pytest.mark.anyio

STRICT = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_import_notification_policy(
        SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    )
)
OURS = {"models", "ledger", "activities", "workflows", "starter", "settings", "worker"}
HEAVY = {"sqlalchemy", "psycopg", "stripe", "pydantic", "temporalio", "alembic", "httpx"}
# Loaded anew for every escrow on purpose: the file that defines the workflow, and the package it lies in.
THEIR_OWN = {"workflows", *(one.__module__ for one in WORKFLOWS)}


class Watcher:
    """Stands first among those who find modules, finds none, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # fmt: skip  # noqa: E501
        """Remember the module that is about to be loaded."""
        self.asked.add(name)
        return None


@contextmanager
def watched() -> Iterator[Watcher]:
    """Watch what is loaded meanwhile."""
    watcher = Watcher()
    sys.meta_path.insert(0, watcher)
    try:
        yield watcher
    finally:
        sys.meta_path.remove(watcher)


def prepare(client: Client, *workflows: type, runner: SandboxedWorkflowRunner | None = None) -> None:
    """Make a worker, which loads every workflow once in a sandbox of its own; it never runs."""
    queue = new_id("cmd")  # no two workers of a process may share one
    Worker(client, task_queue=queue, workflows=workflows, workflow_runner=runner or SandboxedWorkflowRunner())


async def test_an_escrow_loads_no_module_but_its_own(scene: Scene) -> None:
    """Vocabulary, timeouts and activity references are passed through; of ours only the workflow's file is loaded."""
    prepare(scene.client, *WORKFLOWS)
    with watched() as watcher:
        prepare(scene.client, *WORKFLOWS)
    ours = {name for name in watcher.asked if name.partition(".")[0] in OURS}
    assert ours == THEIR_OWN
    assert not watcher.asked & HEAVY


async def test_a_workflow_that_imports_something_heavy_is_seen(scene: Scene) -> None:
    """The test above can fail: a careless workflow loads SQLAlchemy for every instance."""
    with watched() as watcher:
        prepare(scene.client, Careless)
    assert "sqlalchemy" in watcher.asked


async def test_whatever_is_not_passed_through_on_purpose_is_refused(scene: Scene) -> None:
    """A sandbox that raises on every other import takes our workflows, and not the careless one."""
    prepare(scene.client, *WORKFLOWS, runner=STRICT)
    with pytest.raises(RuntimeError) as refused:
        prepare(scene.client, Careless, runner=STRICT)
    assert "sqlalchemy" in str(refused.value.__cause__)
