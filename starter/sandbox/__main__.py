"""``python -m starter.sandbox``: a payment provider that speaks Stripe's API, for the demo and the tests.

It imports nothing of Holdfast and keeps its own books, so what it says about money is independent evidence.
"""

import argparse
import os
import sys
from pathlib import Path

import uvicorn

from starter.sandbox.books import Books
from starter.sandbox.connections import TrackedProtocol
from starter.sandbox.control import Control
from starter.sandbox.faults import FaultQueue
from starter.sandbox.happenings import Happenings
from starter.sandbox.reading import why
from starter.sandbox.server import Sandbox, application
from starter.sandbox.troubles import Troubles
from starter.sandbox.wire import RefusedError

_DAY_SECONDS = 24 * 60 * 60


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m starter.sandbox", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="SQLite file of the sandbox's books")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key", default=os.environ.get("SANDBOX_API_KEY"), help="or SANDBOX_API_KEY")
    parser.add_argument("--webhook-secret", default=os.environ.get("SANDBOX_WEBHOOK_SECRET"), help="or SANDBOX_…")
    parser.add_argument("--webhook-url", help="where to post events; without it none are posted")
    parser.add_argument("--enforce-balance", action="store_true", help="refuse transfers above the platform's balance")
    parser.add_argument("--key-window-seconds", type=float, default=_DAY_SECONDS, help="how long keys are remembered")
    parser.add_argument("--fault-plan", type=Path, help="JSON file that says what goes wrong: docs/sandbox.md")
    arguments = parser.parse_args()
    if not arguments.api_key or not arguments.webhook_secret:
        parser.error("--api-key and --webhook-secret are needed (or SANDBOX_API_KEY and SANDBOX_WEBHOOK_SECRET)")
    return arguments


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. The books survive kill -9 as well."""
    arguments = _arguments()
    books = Books(arguments.data, arguments.key_window_seconds)
    faults, happenings = FaultQueue(), Happenings(books)
    troubles = Troubles(books, happenings, posts=arguments.webhook_url is not None)
    try:
        troubles.use_file(arguments.fault_plan)
    except RefusedError as refused:
        sys.exit(f"--fault-plan {arguments.fault_plan}: {why(refused)}")
    except OSError as error:
        sys.exit(f"--fault-plan {arguments.fault_plan}: {error.strerror}")
    sandbox = Sandbox(books, faults, troubles, api_key=arguments.api_key, enforce_balance=arguments.enforce_balance)
    control = Control(books, faults, troubles, happenings)
    uvicorn.run(
        application(sandbox, control, books, troubles, arguments.webhook_url, arguments.webhook_secret),
        host=arguments.host,
        port=arguments.port,
        http=TrackedProtocol,
        # Longer than any pause of a client: closing an idle connection just as a request arrives looks like a drop.
        timeout_keep_alive=600,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
