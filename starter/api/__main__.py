"""Serve the HTTP API: ``python -m starter.api``, until SIGTERM or Ctrl-C; what was begun is finished first."""

import os
import sys

import uvicorn

from settings import settings
from starter.api.app import build
from starter.misuse import MisuseError

_GRACE_SECONDS = 10


def main() -> None:
    """Run one API process."""
    config = settings()
    try:
        app = build(config)
    except MisuseError as error:
        raise SystemExit(str(error)) from error
    uvicorn.run(
        app,
        host=config.api_host,
        port=config.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=1000,
        h11_max_incomplete_event_size=32 * 1024,
    )
    sys.stdout.flush()
    os._exit(0)  # the SDK's threads can crash a finalizing interpreter after all work is done


if __name__ == "__main__":
    main()
