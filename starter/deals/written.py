"""Commands, policies and escrows as people write them in a deal file, derived from the models that govern them.

A file has amounts in major units, milestones by number or title, and actors by name; a dispute is the one that was
raised last. A new command, a new kind of policy, or a new field of one, is playable without a line here.

One field on its way, ``amount`` of ``reverse_milestone``, in a deal in EUR:

1. The command says ``amount: Amount``, minor units (models.commands). ``_as_written`` finds ``Amount`` in the table
   ``_WRITTEN_AS`` and puts ``MajorUnits`` in its place, so the action's form has ``amount: MajorUnits``.
2. The file says ``amount: 0.10``. It arrives as the text ``"0.10"``; validating the form with the deal's ``Facts`` as
   context makes it ``10``. In the same way ``milestone: Sketches`` becomes ``MilestoneNumber(1)``.
3. Once the escrow exists, ``meant`` builds the command: ``amount=10`` as it is, and for the number the first of the
   ``References``, ``milestone="mil_01jd..."``.
"""

import inspect
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.commands import Actor, Command, Create
from models.decide import PLATFORM_COMMANDS
from models.errors import ErrorCode
from models.exchange import Rate
from models.fields import Amount, Balance, DisputeId, Document, Line, MilestoneId, PayoutId, TenantId, Window
from models.money import MAX_AMOUNT, Money
from models.parties import PartyDetails
from models.policies import POLICY_KINDS
from models.templates import Template
from starter.deals.deal_text import quoted

D = TypeVar("D", bound=Document)

CODES: Final = tuple(kind.code for kind in ErrorCode)
MOST_PAYOUTS: Final = 20
_DIGITS: Final = 4


@dataclass(frozen=True)
class Facts:
    """What a file's texts are read by: the deal's currency, its people and parties, its milestones' names by position.

    ``people`` are those who can act, ``parties`` those with money.
    """

    currency: str | None = None
    people: Mapping[str, Actor] = field(default_factory=dict)
    parties: tuple[str, ...] = ()
    milestones: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class MilestoneNumber:
    """A milestone named by a file, by its position from 1; its id is known once the escrow exists."""

    number: int


@dataclass(frozen=True)
class PayoutNumber:
    """A payout named by a file, by its position from 1."""

    number: int


@dataclass(frozen=True)
class References:
    """The ids that a file's numbers stand for, in order, and the dispute that was raised last."""

    tenant: str
    milestones: tuple[str, ...] = ()
    payouts: tuple[str, ...] = ()
    dispute: str | None = None


class Written(BaseModel):
    """A part of a file. Every scalar arrives as text and is read as what its field says; no key is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError("unknown_key", "unknown key", {"key": key, "allowed": list(cls.model_fields)})
        return value


def _facts(info: ValidationInfo) -> Facts:
    return info.context if isinstance(info.context, Facts) else Facts()


def _read_amount(text: Any, currency: str | None, least: int) -> int:
    if not isinstance(text, str):
        raise ValueError("expected an amount such as 1500.00")
    if currency is None:
        return least  # the currency is what is wrong, and said where it stands
    amount = Money.parse(text, currency).amount
    if not least <= amount <= MAX_AMOUNT:
        limits = f"from {Money(least, currency)} to {Money(MAX_AMOUNT, currency)}"
        raise ValueError(f"{text} is out of range: an amount is {limits}")
    return amount


def _amount(text: Any, info: ValidationInfo) -> int:
    return _read_amount(text, _facts(info).currency, 1)


def _balance(text: Any, info: ValidationInfo) -> int:
    return _read_amount(text, _facts(info).currency, 0)


def _balances(amounts: Any) -> Any:
    if not isinstance(amounts, dict):
        return amounts
    return {currency: _read_amount(text, currency, 0) for currency, text in amounts.items()}


def _milestone(name: Any, info: ValidationInfo) -> MilestoneNumber:
    milestones = _facts(info).milestones
    known = ", ".join(f'{number} "{names[0]}"' for number, names in enumerate(milestones, start=1)) or "none"
    if not isinstance(name, str):
        raise ValueError(f"expected a milestone's number or title: {known}")
    if 1 <= _number(name) <= len(milestones):
        return MilestoneNumber(_number(name))
    found = [number for number, names in enumerate(milestones, start=1) if name in names]
    if len(found) != 1:
        problem = f"several milestones are called {quoted(name)}" if found else f"there is no milestone {quoted(name)}"
        raise ValueError(f"{problem}; the escrow has {known}")
    return MilestoneNumber(found[0])


def _payout(name: Any) -> PayoutNumber:
    if not isinstance(name, str) or not 1 <= _number(name) <= MOST_PAYOUTS:
        raise ValueError("expected the number of a payout, in the order in which they became due: 1, 2, ...")
    return PayoutNumber(_number(name))


def _number(name: str) -> int:
    """A position, written in a few plain digits; 0 for whatever else it may be."""
    return int(name) if name.isascii() and name.isdecimal() and len(name) <= _DIGITS else 0


def _person(name: Any, info: ValidationInfo) -> Actor:
    people = _facts(info).people
    if not isinstance(name, str) or name not in people:
        found = quoted(name) if isinstance(name, str) else "this"
        raise ValueError(f"{found} is nobody who can act in this deal: there are {', '.join(people)}")
    return people[name]


def _party(name: Any, info: ValidationInfo) -> str:
    known = _facts(info).parties
    if not isinstance(name, str) or name not in known:
        found = quoted(name) if isinstance(name, str) else "this"
        raise ValueError(f"{found} is no party of this deal: parties has {', '.join(known)}")
    return name


def _code(code: Any) -> str:
    if code not in CODES:
        raise ValueError(f"{quoted(code)} is not the code of a refusal: there are {', '.join(CODES)}")
    return str(code)


Person = Annotated[Any, BeforeValidator(_person)]
MajorUnits = Annotated[Any, BeforeValidator(_amount)]
PartyName = Annotated[Any, BeforeValidator(_party)]
AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,100}$")]


class Expect(Written):
    """What a story says of a step that is meant to be refused."""

    refused: Annotated[Any, BeforeValidator(_code)]


class TopUp(Written):
    """A party charges a payment method; the money arrives in the party's wallet."""

    do: Literal["top_up"]
    actor: Person
    amount: MajorUnits
    payment_method: AccountId = "pm_card_visa"
    expect: Expect | None = None


class AdvanceClock(Written):
    """Time passes on the deal's test clock, and every deadline that comes due is handled."""

    do: Literal["advance_clock"]
    by: Window


class Change(Written):
    """Something of the tenant changes in mid-story; only the platform does that, so no actor is named."""


class BlockParty(Change):
    """A party's money freezes, and moves again once ``because`` is null."""

    do: Literal["block_party"]
    party: PartyName
    because: Line | None


# How the types of the models are written in a file.
_WRITTEN_AS: Final = (
    (Amount, MajorUnits),
    (Balance, Annotated[Any, BeforeValidator(_balance)]),
    (dict[str, Balance], Annotated[dict[str, int], BeforeValidator(_balances)]),
    (MilestoneId, Annotated[Any, BeforeValidator(_milestone)]),
    (PayoutId, Annotated[Any, BeforeValidator(_payout)]),
)
_IMPLIED: Final = (TenantId, DisputeId)


def _as_written(hint: Any) -> Any:
    """The type that reads from a file what ``hint`` says: the same, but for the types in the table above."""
    for ours, theirs in _WRITTEN_AS:
        if hint == ours:
            return theirs
    if isinstance(hint, type) and issubclass(hint, Document):
        return part(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_as_written(arguments[0]), *arguments[1:])]
    if origin in {Union, UnionType}:
        return reduce(operator.or_, (_as_written(one) for one in arguments))
    if origin is tuple:
        return tuple[tuple(_as_written(one) for one in arguments)]  # type: ignore[misc]
    return hint


@cache
def part(document: type[Document], *, without: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> type[Written]:
    """The part of a file that describes a document; what the file cannot know is left out."""
    return create_model(document.__name__, __base__=Written, **_fields(document, without, optional))


def _fields(document: type[Document], without: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, hint in _hints(document).items():
        if name in without or any(hint == implied for implied in _IMPLIED):
            continue
        required = document.model_fields[name].is_required() and name not in optional
        # A file says what the document's JSON says: a band begins ``from`` somewhere.
        written = document.model_fields[name].alias or name
        fields[written] = (_as_written(hint), ... if required else None)
    return fields


def _hints(document: type[Document]) -> dict[str, Any]:
    """The annotations as they were written: pydantic's own record of them no longer says ``Amount``."""
    hints: dict[str, Any] = {}
    for base in reversed(document.__mro__):
        if issubclass(base, Document):
            hints |= inspect.get_annotations(base)
    return {name: hints[name] for name in document.model_fields}


def _action(command: type[Command], name: str) -> type[Written]:
    own = {} if command is Create else _fields(command, tuple(Command.model_fields))
    common: dict[str, Any] = {"do": (Literal[name], ...), "actor": (Person, ...), "expect": (Expect | None, None)}
    return create_model(name, __base__=Written, __doc__=command.__doc__, **common, **own)


def _change(name: str, document: type[Document] | None = None, **fields: Any) -> type[Change]:
    own: dict[str, Any] = {"do": (Literal[name], ...), **fields}
    return create_model(name, __base__=Change, **own, **(_fields(document, *_UNTOLD) if document else {}))


# Of a rate, the file itself is the source, and the day of the run is its day unless the file says another.
_UNTOLD: Final = (("source",), ("as_of",))
_POLICIES: Final[dict[str, Any]] = {kind: (part(document) | None, None) for kind, document in POLICY_KINDS.items()}

PARTY: Final = part(PartyDetails)
POLICIES: Final = create_model("Policies", __base__=Written, **_POLICIES)
RATE: Final = part(Rate, without=_UNTOLD[0], optional=_UNTOLD[1])
TEMPLATE: Final = part(Template)
ESCROW: Final = part(Create, without=tuple(Command.model_fields), optional=("title",))
COMMANDS: Final = {row.name: row.command for row in PLATFORM_COMMANDS}
ACTIONS: Final[dict[str, type[Written]]] = {
    "top_up": TopUp,
    **{name: _action(command, name) for name, command in COMMANDS.items()},
    "change_policy": _change("change_policy", **_POLICIES),
    "change_party": _change("change_party", PartyDetails, party=(PartyName, ...)),
    "block_party": BlockParty,
    "change_rate": _change("change_rate", Rate),
    "advance_clock": AdvanceClock,
}


def meant(kind: type[D], said: Written, references: References, **fields: Any) -> D:
    """The document that a part of a file stands for. Raises ``pydantic.ValidationError`` with the file's own names."""
    own = {name: value for name, value in _plain(said, references).items() if name in kind.model_fields}
    implied = {
        name: references.dispute if hint == DisputeId else references.tenant
        for name, hint in _hints(kind).items()
        if any(hint == one for one in _IMPLIED)
    }
    return kind.model_validate(own | implied | fields, strict=False)


def _plain(value: Any, references: References) -> Any:
    if isinstance(value, Written):
        return {name: _plain(getattr(value, name), references) for name in value.model_fields_set}
    if isinstance(value, tuple):
        return tuple(_plain(one, references) for one in value)
    if isinstance(value, MilestoneNumber):
        return references.milestones[value.number - 1]
    if isinstance(value, PayoutNumber):
        return references.payouts[value.number - 1]
    return value


def names_payout(said: Written) -> int | None:
    """The number of the payout that an action is about, if it is about one."""
    found = [one.number for name in said.model_fields_set if isinstance(one := getattr(said, name), PayoutNumber)]
    return found[0] if found else None


def names_dispute(command: type[Command]) -> bool:
    """Whether a command is about a dispute, which a file need not name."""
    return any(hint == DisputeId for hint in _hints(command).values())
