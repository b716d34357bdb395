"""What routes are written with: who asks (``Ask``), bodies read strictly (``Json``), and who may do what."""

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from models import forms
from models.fields import GIVEN, PartyId
from models.ids import is_id
from starter.api.once import Asked
from starter.api.problems import ProblemError

Body = TypeVar("Body", bound=BaseModel)

_PARTY: Final[TypeAdapter[str]] = TypeAdapter(PartyId)
# A proxy that compresses answers makes the ETag weak; the version in it is as exact as before.
_VERSION: Final = re.compile(r'(?:W/)?"([1-9][0-9]{0,17})"')


def _asked(request: Request) -> Asked:
    asked: Asked = request.state.asked
    return asked


Ask = Annotated[Asked, Depends(_asked)]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
StartingAfter = Annotated[
    str | None,
    Query(
        max_length=100,
        pattern=forms.VISIBLE,  # nothing that PostgreSQL would not take
        description="The id of the last one of the page before.",
        examples=[None],
    ),
]


def _read(model: type[BaseModel], said: Any) -> BaseModel:
    """By the rules for JSON: an amount in quotes is no amount, while a date is a string."""
    return said if isinstance(said, model) else model.model_validate_json(json.dumps(said), context=GIVEN)


if TYPE_CHECKING:
    Json: TypeAlias = Annotated[Body, None]
else:

    class Json:
        """``Json[Model]``: a body of that model. What is wrong with it is answered 422, field by field."""

        def __class_getitem__(cls, model: type[BaseModel]) -> Any:
            """Build the annotation that FastAPI reads."""
            return Annotated[model, BeforeValidator(partial(_read, model))]


def operators_only(asked: Asked, what: str) -> None:
    """Raise 403 unless the key is an operator's, acting as one."""
    if asked.principal.role != "operator" or asked.principal.party is not None:
        raise ProblemError(403, f"{what} is for operators")


def not_for_parties(asked: Asked, what: str) -> None:
    """Raise 403 for an end user, and for a key that acts for a buyer or seller."""
    if asked.principal.party is not None:
        raise ProblemError(403, f"{what} is for the platform itself, not for its {asked.principal.actor.role}s")


def own_party(asked: Asked, party: str) -> None:
    """Raise 404 for a party that is not theirs, where a buyer or seller asks."""
    if asked.principal.party not in {None, party}:
        raise ProblemError(404, f"there is no party {party}")


def known_party(identifier: str, status: int = 404) -> str:
    """The party's id, if it can be one. Raises 404: what cannot be an id is nobody; 422 where it would be made."""
    try:
        return _PARTY.validate_python(identifier)
    except ValidationError:
        raise ProblemError(
            status, "there is no such party: an id is 1 to 64 letters, digits, dots, underscores, colons and hyphens"
        ) from None


def known_id(prefix: str, identifier: str, what: str) -> str:
    """The id, if it can be one. Raises 404: what cannot be an id is nothing that there is."""
    if not is_id(prefix, identifier):
        raise ProblemError(404, f"there is no such {what}: its id would be like {prefix}_01jd3v6k9q4m8n2p5r7s0t1w3x")
    return identifier


def expected_version(request: Request) -> int | None:
    """The version in ``If-Match``, if there is one. Raises 400 for anything but ``"<version>"``.

    Also for a weak validator: RFC 9110 (13.1.1) compares strongly, so none would ever match.
    """
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    found = _VERSION.fullmatch(given.strip())
    if found is None:
        raise ProblemError(400, 'If-Match: expected the version in quotes, as the ETag has it: "7"')
    return int(found[1])
