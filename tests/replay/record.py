"""Record the histories that every later version has to replay: ``make record``.

Plays each story on a stack of its own, and writes into the folder of this version those that are not there or command
something else than they did; with ``--all`` all of them. A released version's folder is left alone: docs/upgrades.md.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.gateway import GatewayActivities
from activities.gateways.stripe import StripeGateway
from activities.rate_sources.file import FileSource
from activities.rates import RateActivities
from activities.screening import ScreeningActivities
from activities.screening_providers.declared import DeclaredProvider
from ledger.books import Books
from tests.market import KEYS, Market
from tests.replay.fingerprints import fingerprint
from tests.replay.lasting import play_lasting
from tests.replay.releases import changelog, folder, version
from tests.replay.stories import SHORT_STORIES, STORIES, Story
from tests.servers import Servers, servers, short_histories
from tests.workflow.scene import Sandbox, Scene
from worker import books_worker, gateway_worker, rates_worker, screening_worker

FINGERPRINTS: Final = Path(__file__).parent / "fingerprints.json"
RATES: Final = Path(__file__).parent / "rates.json"
_SLOTS: Final = 8


def play_all(running: Servers) -> dict[str, list[WorkflowHistory]]:
    """Play every story and return the histories of its workflows, the escrow's first."""
    with short_histories(running) as impatient:
        return asyncio.run(play(running, STORIES)) | asyncio.run(play(impatient, SHORT_STORIES))


async def play(running: Servers, stories: dict[str, Story], lasting: bool = False) -> dict[str, list[WorkflowHistory]]:
    """Play some stories on a worker of their own, and beside it those that are never over."""
    # In plain text, so that a history and its fingerprint can be read.
    client = await Client.connect(
        running.endpoints.temporal_address,
        namespace=running.endpoints.temporal_namespace,
        data_converter=pydantic_data_converter,
        identity="recorder",  # the usual one names this machine
    )
    provider = StripeGateway(
        api_key=running.endpoints.stripe_api_key,
        api_base=running.endpoints.stripe_api_base,
        timeout_seconds=5,
    )
    sandbox = Sandbox(running.endpoints)
    histories = {}
    async with (
        books_worker(client, Books(running.engine), provider.name, _SLOTS),
        gateway_worker(client, GatewayActivities(provider), _SLOTS),
        rates_worker(client, RateActivities(FileSource(RATES), running.engine)),
        screening_worker(client, ScreeningActivities(DeclaredProvider(), running.engine, KEYS)),
    ):
        for name, story in stories.items():
            workflows = await story(Scene.of(running, Market(running.engine), client), sandbox)
            histories[name] = [await _handle(client, one).fetch_history() for one in workflows]
        return histories | (await play_lasting(running, client) if lasting else {})


def _handle(client: Client, workflow: str) -> WorkflowHandle[Any, Any]:
    """A workflow by its id; ``id@run`` is an earlier run of it."""
    identifier, _, run = workflow.partition("@")
    return client.get_workflow_handle(identifier, run_id=run or None)


def fingerprints(histories: dict[str, list[WorkflowHistory]]) -> dict[str, list[list[str]]]:
    """What each story's workflows commanded."""
    return {name: [fingerprint(history) for history in recorded] for name, recorded in histories.items()}


def stale(played: dict[str, list[list[str]]], known: dict[str, list[list[str]]], there: set[str]) -> set[str]:
    """The stories to write: those that command something else than what is known, or that are not there."""
    return {name for name, lines in played.items() if known.get(name, lines) != lines or name not in there}


def main() -> None:
    """Write histories and fingerprints."""
    parser = argparse.ArgumentParser(prog="make record", description=__doc__)
    parser.add_argument("--all", action="store_true", help="write every story, not only what is new or changed")
    every = parser.parse_args().all
    into = folder(changelog(), version())
    into.mkdir(parents=True, exist_ok=True)
    there = {path.stem.rpartition("-")[0] for path in into.glob("*.json")}
    known = json.loads(FINGERPRINTS.read_text(encoding="utf-8")) if FINGERPRINTS.exists() else {}
    with servers() as running:
        recorded = play_all(running)
        lasting = asyncio.run(play(running, {}, lasting=True))
    today = fingerprints(recorded)
    missing = set(lasting) - there
    changed = set(recorded | lasting) if every else stale(today, known, there) | missing
    for name in sorted(changed):
        for old in into.glob(f"{name}-[0-9].json"):
            old.unlink()
        for number, history in enumerate((recorded | lasting)[name]):
            text = json.dumps({"workflow_id": history.workflow_id, **json.loads(history.to_json())})
            (into / f"{name}-{number}.json").write_text(text + "\n", encoding="utf-8")
    FINGERPRINTS.write_text(json.dumps(today, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{into}: wrote {', '.join(sorted(changed)) or 'nothing, all is as recorded'}")  # noqa: T201


if __name__ == "__main__":
    main()
