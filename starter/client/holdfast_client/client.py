"""The client. Written by hand: a generator would be one more thing to pin, while a test holds this to the document."""

from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from holdfast_client.calls import Calls
from holdfast_client.routes.accounts import Accounts
from holdfast_client.routes.disputes import Disputes
from holdfast_client.routes.escrows import Escrows
from holdfast_client.routes.milestones import Milestones
from holdfast_client.routes.money import Money
from holdfast_client.routes.parties import Parties
from holdfast_client.routes.policies import Policies
from holdfast_client.routes.records import Records
from holdfast_client.routes.webhooks import Webhooks

TIME_LIMIT: Final = timedelta(seconds=60)
# Longer than the service takes to say that it does not know.
_TIMEOUT: Final = httpx.Timeout(30, connect=5)


class Holdfast(Accounts, Parties, Money, Policies, Escrows, Milestones, Disputes, Records, Webhooks):
    """Holdfast's HTTP API with one key: ``Holdfast("http://127.0.0.1:8420", key)``. Threads may share it.

    ``key`` is an API key, an end user's JWT or, to make tenants, the bootstrap secret. Amounts are minor units.

    Whatever changes something is sent under an Idempotency-Key of its own, or under ``key="order-17-approve-1"`` where
    a second process must not do it again. What is transient (nobody there, 429, 502 to 504, an outcome that is not
    known yet) is tried again under the same key until ``time_limit`` is over; what fails raises ``HoldfastError``.
    Commands take ``expected_version=escrow.version`` and raise ``ConflictError`` if somebody was faster.

    ``http`` is a client of your own, with proxies or certificates; its base URL and credentials are not used.
    """

    def __init__(
        self, url: str, key: str, *, time_limit: timedelta = TIME_LIMIT, http: httpx.Client | None = None
    ) -> None:
        super().__init__(Calls(http or httpx.Client(timeout=_TIMEOUT), url.rstrip("/"), key, time_limit))

    def acting_for(self, actor: str) -> Self:
        """The same key, acting for ``buyer:<party>`` or ``seller:<party>``, over the same connections."""
        other = self.__class__.__new__(self.__class__)
        other._calls = self._calls.acting_for(actor)
        return other

    def close(self) -> None:
        """Close the connections, also those of ``acting_for``."""
        self._calls.http.close()

    def __enter__(self) -> Self:
        """For ``with``: the connections are closed at its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()
