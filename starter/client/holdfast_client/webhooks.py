"""Receiving webhooks: whether a post is Holdfast's, and what it says. Needs the library ``standardwebhooks``."""

from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError

from holdfast_client.answers.accounts import Event


def verified(body: bytes, headers: Mapping[str, str], secret: str) -> Event:
    """The event that was posted. ``body`` as it came, ``secret`` the endpoint's ``whsec_…``.

    Raises ``standardwebhooks.WebhookVerificationError`` if it is not signed with the secret, or older than five
    minutes: answer 400. The same event may come twice: ``id`` stays the same.
    """
    try:
        said = Webhook(secret).verify(body, dict(headers))
    except ValueError:  # the library's, for headers that are no signature at all
        raise WebhookVerificationError("the headers cannot be read") from None
    return Event.model_validate(said)
