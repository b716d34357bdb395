"""The real HTTP API, which may be struck at named points: ``python -m chaos.doomed_api``."""

from typing import Literal

from sqlalchemy import Engine

from chaos.haste import hasten_api, in_haste
from chaos.points import pass_by
from ledger.answers import Answer, Answers, Claim
from ledger.gateway_events import receive
from models.gateway_events import GatewayEvent
from starter.api import __main__ as api
from starter.api import once
from starter.api.routes import gateways


class DoomedAnswers(Answers):
    """The real claims and kept answers, between which the process may be struck."""

    def claim(self, key: str, fingerprint: str, path: str) -> Claim | Answer | Literal["reused", "running"]:
        """Claim a request."""
        found = super().claim(key, fingerprint, path)
        if isinstance(found, Claim):
            pass_by("api-claimed")
        return found

    def keep(self, key: str, answer: Answer) -> Answer:
        """Keep an answer."""
        pass_by("api-decided")
        kept = super().keep(key, answer)
        pass_by("api-kept")
        return kept


def _receive(engine: Engine, provider: str, event: GatewayEvent) -> bool:
    new = receive(engine, provider, event)
    pass_by("api-told")
    return new


def main() -> None:
    """Serve until SIGTERM, or until struck."""
    vars(once)["Answers"] = DoomedAnswers
    vars(gateways)["receive"] = _receive
    if in_haste():
        hasten_api()
    api.main()


if __name__ == "__main__":
    main()
