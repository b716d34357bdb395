"""Serve the HTTP API: ``python -m starter.api``, until SIGTERM or Ctrl-C; what was begun is finished first."""

import os
import signal
import sys
from types import FrameType
from typing import Final

import uvicorn

from settings import settings
from starter.api.app import build
from starter.api.patience import Patience
from starter.logs import configure
from starter.misuse import MisuseError

_GRACE_SECONDS: Final = 15
_NOT_STARTED: Final = 3


def main() -> None:
    """Run one API process."""
    config = settings()
    configure(config.log_format, config.log_level)
    try:
        app = build(config)
    except MisuseError as error:
        raise SystemExit(str(error)) from error
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.api_host,
            port=config.api_port,
            http=Patience,
            ws="none",
            proxy_headers=config.forwarded_allow_ips is not None,
            forwarded_allow_ips=config.forwarded_allow_ips,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=32 * 1024,
        )
    )
    _end_well(server)
    server.run()
    sys.stdout.flush()
    # The SDK's threads can crash a finalizing interpreter after all work is done.
    os._exit(0 if server.started else _NOT_STARTED)


def _end_well(server: uvicorn.Server) -> None:
    """To be asked to end is no failure: uvicorn raises the signal again when it has ended, which must not kill us."""

    def asked(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)


if __name__ == "__main__":
    main()
