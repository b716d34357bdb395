"""What a payment provider tells by itself: a reason to look, never a fact to book. Source: edge_cases.md, 13 to 18.

An event may come twice, late, early or out of order, so no decision rests on what it says: the provider is asked how
the thing that it is about stands now, and our own books are compared with that.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from models.commands import AnyCommand
from models.fields import Document

EventId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
EventType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$")]


class GatewayEvent(Document):
    """A verified message of a provider, as little of it as is needed: ids, and what helps a person to understand it.

    ``subject`` is the provider's word for the kind of object and ``reference`` its id of it; ``key`` is the key of our
    operation, where the object carries one. ``details`` are of the moment of sending: nothing is decided by them.
    """

    id: EventId
    type: EventType
    created: AwareDatetime
    subject: EventType | None = None
    reference: EventId | None = None
    key: EventId | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ReceivedEvent(GatewayEvent):
    """An event as it is kept: ``number`` is ours, ``attempts`` how often it was looked at before this time."""

    number: int
    provider: str
    received_at: AwareDatetime
    attempts: int


class Step(Document):
    """What an event calls for next.

    ``act``: the books are to apply ``command``, and then the event is to be looked at again. ``wait``: not yet.
    ``applied``: nothing is left to do. ``ignored``: it means nothing to us. ``refused``: a person has to look. With any
    of them the workflows of ``wake`` are to ask the provider now; ``why`` is for people.
    """

    number: int
    verdict: Literal["act", "wait", "applied", "ignored", "refused"]
    why: str | None = None
    command: AnyCommand | None = None
    wake: tuple[str, ...] = ()
