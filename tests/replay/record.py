"""Record the histories that every later version has to replay: ``python -m tests.replay.record``.

Plays each story on a stack of its own. Run it after a deliberate change of a workflow and look at the difference; keep
the histories of a release when its escrows may still be open.
"""

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
from tests.replay.stories import SHORT_STORIES, STORIES, Story
from tests.servers import Servers, servers, short_histories
from tests.workflow.scene import Sandbox, Scene
from worker import books_worker, gateway_worker, rates_worker, screening_worker

HISTORIES: Final = Path(__file__).parent / "histories"
FINGERPRINTS: Final = Path(__file__).parent / "fingerprints.json"
RATES: Final = Path(__file__).parent / "rates.json"
INCOMPATIBLE: Final = "incompatible.json"
_SLOTS: Final = 8


def play_all(running: Servers) -> dict[str, list[WorkflowHistory]]:
    """Play every story and return the histories of its workflows, the escrow's first."""
    with short_histories(running) as impatient:
        return asyncio.run(play(running, STORIES)) | asyncio.run(play(impatient, SHORT_STORIES))


async def play(running: Servers, stories: dict[str, Story]) -> dict[str, list[WorkflowHistory]]:
    """Play some stories on a worker of their own."""
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
    return histories


def _handle(client: Client, workflow: str) -> WorkflowHandle[Any, Any]:
    """A workflow by its id; ``id@run`` is an earlier run of it."""
    identifier, _, run = workflow.partition("@")
    return client.get_workflow_handle(identifier, run_id=run or None)


def fingerprints(histories: dict[str, list[WorkflowHistory]]) -> dict[str, list[list[str]]]:
    """What each story's workflows commanded."""
    return {name: [fingerprint(history) for history in recorded] for name, recorded in histories.items()}


def main() -> None:
    """Write the histories, one that no version may accept, and the fingerprints."""
    HISTORIES.mkdir(exist_ok=True)
    with servers() as running:
        recorded = play_all(running)
    for name, histories in recorded.items():
        for number, history in enumerate(histories):
            text = json.dumps({"workflow_id": history.workflow_id, **json.loads(history.to_json())})
            (HISTORIES / f"{name}-{number}.json").write_text(text + "\n", encoding="utf-8")
    # What a careless rename would leave behind: the history knows a child that the code does not start any more.
    website = (HISTORIES / "website-0.json").read_text(encoding="utf-8")
    (HISTORIES / INCOMPATIBLE).write_text(website.replace('"PayoutWorkflow"', '"SettlementWorkflow"'), encoding="utf-8")
    document = json.dumps(fingerprints(recorded), indent=1, ensure_ascii=False)
    FINGERPRINTS.write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
