"""The worker that numbers events and posts webhooks, for tests: on a thread, like ``tests.workers``."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from activities.webhooks import Postman, WebhookActivities
from ledger.engine import connect
from ledger.keyring import Keyring
from ledger.posting import PostingQueue
from starter.delivery import ensure_webhooks
from tests.servers import Servers
from tests.workers import temporal
from worker import webhooks_worker
from workflows.timeouts import WEBHOOKS_CONNECTIONS

_READY_SECONDS = 60.0


@contextmanager
def posting(servers: Servers) -> Iterator[None]:
    """Number and post, to this machine too, for the duration of a block."""
    ready: Future[None] = Future()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        engine = connect(servers.endpoints.database_url, WEBHOOKS_CONNECTIONS)
        queue = PostingQueue(engine)
        postman = Postman(queue, Keyring.parse(servers.endpoints.keys), allow_loopback=True)
        client = await temporal(servers.endpoints)
        async with webhooks_worker(client, WebhookActivities(queue, postman)):
            await ensure_webhooks(client)
            ready.set_result(None)
            await stop.wait()
        engine.dispose()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="posting")
    thread.start()
    try:
        ready.result(_READY_SECONDS)
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
