"""Where events are posted, what became of each posting, and the feed of all events."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Unpack

from holdfast_client.answers.accounts import Delivery, Endpoint, Event, NewEndpoint, Redelivered
from holdfast_client.calls import Once
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section


class Webhooks(Section):
    """Events."""

    def create_webhook_endpoint(
        self, *, url: str, events: Sequence[str] | None = None, description: str | None = None, **how: Unpack[Once]
    ) -> NewEndpoint:
        """Register where events are posted from now on: all of them, or types such as ``payout.*``."""
        body = {"url": url, "events": events, "description": description}
        return self._calls.post(NewEndpoint, "/v1/webhook-endpoints", body=body, **how)

    def list_webhook_endpoints(self) -> Listing[Endpoint]:
        """Endpoints, newest first."""
        return self._calls.listing(Endpoint, "/v1/webhook-endpoints")

    def get_webhook_endpoint(self, endpoint: str) -> Endpoint:
        """One endpoint, without its secret."""
        return self._calls.get(Endpoint, "/v1/webhook-endpoints/{}", endpoint)

    def change_webhook_endpoint(
        self,
        endpoint: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        **how: Unpack[Once],
    ) -> Endpoint:
        """Change an endpoint; what waits goes to the new address."""
        body = {"url": url, "events": events, "description": description}
        return self._calls.patch(Endpoint, "/v1/webhook-endpoints/{}", endpoint, body=body, **how)

    def delete_webhook_endpoint(self, endpoint: str, **how: Unpack[Once]) -> None:
        """Forget an endpoint and its deliveries: nothing more is posted there."""
        self._calls.delete("/v1/webhook-endpoints/{}", endpoint, **how)

    def enable_webhook_endpoint(self, endpoint: str, **how: Unpack[Once]) -> Endpoint:
        """Post to a disabled endpoint again, from now on."""
        return self._calls.post(Endpoint, "/v1/webhook-endpoints/{}/enable", endpoint, **how)

    def rotate_webhook_secret(
        self, endpoint: str, *, overlap: timedelta | None = None, **how: Unpack[Once]
    ) -> NewEndpoint:
        """Make a new secret; the one before signs too for ``overlap``: a day unless it is given, up to seven."""
        body = {"overlap": overlap}
        return self._calls.post(NewEndpoint, "/v1/webhook-endpoints/{}/rotate-secret", endpoint, body=body, **how)

    def list_webhook_deliveries(self, endpoint: str) -> Listing[Delivery]:
        """What was and will be posted to an endpoint, newest first."""
        return self._calls.listing(Delivery, "/v1/webhook-endpoints/{}/deliveries", endpoint)

    def list_events(self, *, type: str | None = None, escrow: str | None = None) -> Listing[Event]:  # noqa: A002
        """What happened, newest first: numbered without gaps, in the order of each escrow's events."""
        return self._calls.listing(Event, "/v1/events", type=type, escrow=escrow)

    def get_event(self, event: str) -> Event:
        """One event, as a webhook has it."""
        return self._calls.get(Event, "/v1/events/{}", event)

    def redeliver_event(self, event: str, *, endpoint: str | None = None, **how: Unpack[Once]) -> list[Delivery]:
        """Post an event again, under the same id: to every enabled endpoint that wants it, or to the one named."""
        body = {"endpoint": endpoint}
        return self._calls.post(Redelivered, "/v1/events/{}/redeliver", event, body=body, **how).data
