"""A deal as a file tells it: the people, the policies, the agreement, and what happens, in order.

``load`` checks everything that can be known before anything starts, the agreement by the very rule that will decide
on it, and says where in the file something is wrong and what is allowed there.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from models import ids
from models.commands import Actor, Command, Create, Role
from models.currencies import EXPONENTS
from models.decide import decide
from models.errors import ErrorCode, Refusal
from models.escrow import Escrow
from models.exchange import Rate
from models.fields import Currency, Document, Line, PartyId
from models.policies import POLICY_KINDS, Policies, ReleasePolicy
from models.rules import creation
from models.templates import Template
from starter.deals import foreseen, written
from starter.deals.deal_text import DealFileError, Problem, Source, Where, quoted, read
from starter.deals.milestone_names import names_of, renamed
from starter.deals.problems import explain, suggestion
from starter.deals.written import ACTIONS, COMMANDS, AdvanceClock, Change, Facts, References, Written, meant

M = TypeVar("M", bound=BaseModel)

_PLATFORM: Final = "platform"
# Stand in for what only a run knows, where a command is built to see whether it could be.
_SAMPLE_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TENANT, _ESCROW, _DISPUTE, _PAYOUT = (
    ids.derive(prefix, _SAMPLE_TIME, "sample") for prefix in ("ten", "esc", "dsp", "pay")
)


class Tenant(Written):
    """The marketplace. It reports in the deal's currency, unless the file says otherwise."""

    name: Line
    reporting_currency: Currency | None = None


_PartySection: Final[Any] = written.PARTY
_RateSection: Final[Any] = written.RATE
_TemplateSection: Final[Any] = written.TEMPLATE
_PolicySection: Final[Any] = written.POLICIES
_EscrowSection: Final[Any] = written.ESCROW


class _Sections(Written):
    """The top level of a deal file."""

    title: Line
    tenant: Tenant
    parties: Annotated[dict[PartyId, _PartySection | None], Field(max_length=100)]
    operators: Annotated[tuple[PartyId, ...], Field(max_length=20)] = ()
    rates: Annotated[tuple[_RateSection, ...], Field(max_length=100)] = ()
    templates: Annotated[tuple[_TemplateSection, ...], Field(max_length=20)] = ()
    policies: _PolicySection | None = None
    escrow: _EscrowSection
    actions: Annotated[list[Any], Field(max_length=500)]


@dataclass(frozen=True)
class Action:
    """One step of the story. ``refusal`` is the code of the refusal that it is meant to meet, if any.

    ``line`` is where the file says it; the ``create`` that goes without saying has none.
    """

    do: str
    actor: Actor | None
    said: Written
    refusal: str | None = None
    line: int | None = None

    @property
    def command(self) -> type[Command] | None:
        """The kind of command that it sends; None for a top-up, for a change of the tenant, and for the clock."""
        return COMMANDS.get(self.do)

    @property
    def moves_clock_by(self) -> timedelta:
        """How far it moves the test clock."""
        return self.said.by if isinstance(self.said, AdvanceClock) else timedelta(0)


@dataclass(frozen=True)
class Deal:
    """A deal that can be played. ``digest`` changes with the file's meaning, not with its comments.

    ``remarks`` are what its writer may not have noticed, though nothing is wrong.
    """

    file: Path
    title: str
    tenant: str
    reporting_currency: str
    currency: str
    parties: dict[str, Written]
    policies: dict[str, Document]
    rates: tuple[Written, ...]
    templates: tuple[Template, ...]
    agreement: Written
    actions: tuple[Action, ...]
    digest: str
    remarks: tuple[str, ...] = ()

    def create(self, tenant: str, actor: Actor, **fields: Any) -> Create:
        """The command that agrees on the escrow. ``fields`` are those that no file knows."""
        title = getattr(self.agreement, "title", None) or self.title
        return meant(Create, self.agreement, References(tenant), title=title, actor=actor, **fields)

    def rate(self, said: Written, today: date) -> Rate:
        """An exchange rate of the file; of ``today`` unless it says of when."""
        return _rate(said, today, self.file)


def load(file: Path) -> Deal:
    """Read a deal file. Raises ``DealFileError`` that names the file, the line, and what is allowed there."""
    return _Reading(read(file)).deal()


class _Reading:
    """The reading of one file: it collects what is wrong and goes on for as long as that makes sense."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: list[Problem] = []
        self._remarks: list[Problem] = []
        currency = source.value(("escrow", "currency"))
        self._facts = Facts(currency=currency if isinstance(currency, str) and currency in EXPONENTS else None)
        self._disputes = 0
        self._agreed: Escrow | None = None

    def deal(self) -> Deal:
        sections = self._built((), lambda: _Sections.model_validate(self._source.tree, context=self._facts))
        if sections is None:
            raise DealFileError(self._source.file, self._problems)
        self._facts = replace(self._facts, people=self._people(sections), parties=tuple(sections.parties))
        deal = Deal(
            file=self._source.file,
            title=sections.title,
            tenant=sections.tenant.name,
            reporting_currency=sections.tenant.reporting_currency or sections.escrow.currency,
            currency=sections.escrow.currency,
            parties={name: party or written.PARTY() for name, party in sections.parties.items()},
            policies=self._policies(("policies",), sections.policies),
            rates=sections.rates,
            templates=self._templates(sections.templates),
            agreement=sections.escrow,
            actions=(),
            digest=hashlib.sha256(json.dumps(self._source.tree, sort_keys=True).encode()).hexdigest(),
        )
        self._agree(deal)
        for index, rate in enumerate(deal.rates):
            self._look_at_rate(("rates", index), rate)
        self._look_at_currency(deal)
        self._look_at_seller(sections)
        self._stop_if_wrong()  # or every action would be wrong as well, for want of a milestone or a party
        deal = replace(deal, actions=self._actions(sections.actions))
        self._stop_if_wrong()
        return replace(deal, remarks=tuple(remark.told(deal.file) for remark in self._remarks))

    def _stop_if_wrong(self) -> None:
        if self._problems:
            raise DealFileError(self._source.file, self._problems)

    def _people(self, sections: _Sections) -> dict[str, Actor]:
        """Who can be named as an actor; the buyer and the seller are those of the escrow."""
        roles: dict[str, Role] = {sections.escrow.buyer: "buyer", sections.escrow.seller: "seller"}
        for party, role in roles.items():
            if party not in sections.parties:
                self._wrong(("escrow", role), f"unknown party {party!r}: parties has {', '.join(sections.parties)}")
        if _PLATFORM in (*sections.parties, *sections.operators):
            self._wrong((), f"{_PLATFORM!r} is the marketplace itself: nobody else can have that name")
        people = {name: Actor(role=role, party=name) for name, role in roles.items()}
        for index, name in enumerate(sections.operators):
            if name in sections.parties:
                self._wrong(("operators", index), f"{name!r} cannot be an operator and a party of the same deal")
            people[name] = Actor(role="operator", party=name)
        return people | {_PLATFORM: Actor(role="platform")}

    def _policies(self, where: Where, section: Written | None) -> dict[str, Document]:
        policies: dict[str, Document] = {}
        for kind, document in POLICY_KINDS.items():
            said = getattr(section, kind, None)
            if said is not None:
                policy = self._built((*where, kind), lambda d=document, s=said: meant(d, s, References(_TENANT)))  # type: ignore[misc]
                policies |= {kind: policy} if policy else {}
        return policies

    def _templates(self, section: tuple[Written, ...]) -> tuple[Template, ...]:
        templates: dict[str, Template] = {}
        for index, said in enumerate(section):
            where = ("templates", index)
            template = self._built(where, lambda s=said: meant(Template, s, References(_TENANT)))  # type: ignore[misc]
            if template is None:
                continue
            if reason := foreseen.wrong_template(template.name, templates):
                self._wrong((*where, "name"), reason)
            templates[template.name] = template
        return tuple(templates.values())

    def _agree(self, deal: Deal) -> None:
        """Learn the milestones that the agreement leads to. What the rules would refuse is wrong already here."""
        create = self._built(
            ("escrow",), lambda: deal.create(_TENANT, self._who_agrees(deal), id="sample", escrow=_ESCROW)
        )
        if create is None:
            return
        release = deal.policies.get("release") or ReleasePolicy()
        policies = Policies(
            release=release if isinstance(release, ReleasePolicy) else ReleasePolicy(),
            template=next((one for one in deal.templates if one.name == create.template), None),
        )
        blank = creation.blank(create, _SAMPLE_TIME, policies.release, 0)
        decision = decide(blank, create, policies, _SAMPLE_TIME)
        if not isinstance(decision, Refusal):
            self._agreed = decision.escrow
            self._facts = replace(self._facts, milestones=names_of(decision.escrow.milestones))
            self._look_at_rest(decision.escrow)
        elif not self._is_the_story(decision.code, do="create"):
            self._not_agreed(deal, create.template, decision.message)

    def _who_agrees(self, deal: Deal) -> Actor:
        """Whoever sends the first ``create`` that is not meant to be refused; the buyer, if the file does not say."""
        for action in self._source.value(("actions",)) or ():
            if isinstance(action, dict) and action.get("do") == "create" and "expect" not in action:
                name = action.get("actor")
                if isinstance(name, str) and name in self._facts.people:
                    return self._facts.people[name]
        return Actor(role="buyer", party=getattr(deal.agreement, "buyer", None))

    def _not_agreed(self, deal: Deal, template: str | None, reason: str) -> None:
        """What is wrong with the agreement, unless it is only that its template is, which is said there already."""
        own = [one["name"] for one in self._source.value(("templates",)) or ()]
        if template and (unknown := foreseen.unknown_template(template, own)):
            self._wrong(("escrow", "template"), unknown)
        elif template not in own or any(template == one.name for one in deal.templates):
            self._wrong(("escrow",), reason)

    def _look_at_rest(self, escrow: Escrow) -> None:
        rest = escrow.amount - sum(one.amount for one in escrow.milestones)
        if rest:
            self._remark(("escrow", "amount"), f"{escrow.money(rest)} belongs to no milestone; `complete` releases it")

    def _look_at_rate(self, where: Where, said: Written) -> None:
        rate = self._built(where, lambda: _rate(said, _SAMPLE_TIME.date(), self._source.file))
        if rate and (wrong := foreseen.wrong_rate(rate)):
            field, reason = wrong
            self._wrong((*where, field), reason)

    def _look_at_currency(self, deal: Deal) -> None:
        """Without a rate nothing can be settled; an installation may have rates of its own, so this is no mistake."""
        base, quote, code = deal.currency, deal.reporting_currency, ErrorCode.EXCHANGE_RATE_UNAVAILABLE.code
        pairs = [(getattr(one, "base", ""), getattr(one, "quote", "")) for one in deal.rates]
        if not foreseen.convertible(base, quote, pairs) and not self._is_the_story(code):
            self._remark(
                ("tenant", "reporting_currency"),
                f"the file has no rate from {base} to {quote}: every settlement is refused with {code} unless there is "
                f"one already. Give it as rates: [{{base: {base}, quote: {quote}, rate: ...}}]",
            )

    def _look_at_seller(self, sections: _Sections) -> None:
        seller = sections.escrow.seller
        party = sections.parties.get(seller)
        if seller in sections.parties and (party is None or party.payout_destination is None):
            self._remark(
                ("parties", seller),
                f"{seller} is the seller and has no account: payouts will fail for want of a payout_destination, "
                "such as acct_seller",
                at_key=True,
            )

    def _is_the_story(self, code: str, **action: str) -> bool:
        """Whether the file says that something, ``do: create`` for one, is meant to be refused so."""
        expected = {"expect": {"refused": code}, **action}
        actions = self._source.value(("actions",))
        return any(isinstance(one, dict) and expected.items() <= one.items() for one in actions)

    def _actions(self, said: list[Any]) -> tuple[Action, ...]:
        read = [self._action(("actions", index), one) for index, one in enumerate(said)]
        actions = [action for action in read if action is not None]
        if not any(action.do == "create" for action in actions):
            buyer = next(iter(self._facts.people.values()))
            actions.insert(0, Action("create", buyer, Written()))
        return tuple(actions)

    def _action(self, where: Where, said: Any) -> Action | None:
        """Read one action and see that its command could be built."""
        do = said.get("do") if isinstance(said, dict) else None
        if not isinstance(do, str) or do not in ACTIONS:
            self._wrong((*where, "do"), _not_an_action(said, do))
            return None
        form = ACTIONS[do]
        part = self._built(where, lambda: form.model_validate(said, context=self._facts))
        if part is None:
            self._disputes += do == "dispute"  # or those who judge it would be wrong as well
            return None
        expect = getattr(part, "expect", None)
        line, _ = self._source.places[where]
        actor = self._facts.people[_PLATFORM] if isinstance(part, Change) else getattr(part, "actor", None)
        action = Action(do, actor, part, expect and expect.refused, line)
        self._try(where, action)
        self._remember(action)
        return action

    def _try(self, where: Where, action: Action) -> None:
        kind = action.command
        if action.do == "top_up" and action.actor and action.actor.role not in {"buyer", "seller"}:
            self._wrong((*where, "actor"), "only the buyer and the seller have a wallet to top up")
        if action.moves_clock_by % timedelta(seconds=1):
            self._wrong((*where, "by"), "the clock moves by whole seconds")
        if isinstance(action.said, Change):
            self._try_change(where, action.said)
        if kind is None or kind is Create:
            return
        if written.names_dispute(kind) and not self._disputes:
            self._wrong(where, f"{action.do} needs a dispute: somebody has to raise one first, with do: dispute")
        milestones = tuple(ids.derive("mil", _SAMPLE_TIME, str(n)) for n in range(len(self._facts.milestones)))
        references = References(_TENANT, milestones, (_PAYOUT,) * written.MOST_PAYOUTS, _DISPUTE)
        command = self._built(
            where, lambda: meant(kind, action.said, references, id="sample", escrow=_ESCROW, actor=action.actor)
        )
        if command and not action.refusal:
            self._foresee(where, command)

    def _try_change(self, where: Where, said: Change) -> None:
        if nothing := foreseen.changes_nothing(said):
            self._wrong(where, nothing)
        self._policies(where, said)
        if "base" in type(said).model_fields:
            self._look_at_rate(where, said)

    def _foresee(self, where: Where, command: Command) -> None:
        """What would be refused in any state of the escrow is wrong here, unless the story is about the refusal."""
        if reason := foreseen.wrong_role(command.name, command.actor):
            self._wrong((*where, "actor"), reason)
        elif self._agreed and (reason := foreseen.wrong_funding(self._agreed, command)):
            self._wrong((*where, "source"), reason)
        elif self._agreed and (reason := foreseen.wrong_resolution(self._agreed, command, _DISPUTE)):
            self._wrong((*where, "resolution"), reason)

    def _remember(self, action: Action) -> None:
        """What later actions may refer to: a dispute that was raised, milestones that were agreed anew."""
        if action.refusal is None and action.do == "dispute":
            self._disputes += 1
        if action.refusal is None:
            self._facts = replace(self._facts, milestones=renamed(self._facts.milestones, action.do, action.said))

    def _built(self, where: Where, build: Callable[[], M]) -> M | None:
        try:
            return build()
        except ValidationError as error:
            self._problems += explain(self._source, error, where)
            return None

    def _remark(self, where: Where, message: str, *, at_key: bool = False) -> None:
        self._remarks.append(self._source.problem(where, message, at_key=at_key))

    def _wrong(self, where: Where, message: str) -> None:
        self._problems.append(self._source.problem(where, message))


def _rate(said: Written, today: date, file: Path) -> Rate:
    untold = {"source": file.name} | ({} if getattr(said, "as_of", None) else {"as_of": today})
    return meant(Rate, said, References(_TENANT), **untold)


def _not_an_action(said: Any, do: Any) -> str:
    known = ", ".join(ACTIONS)
    if not isinstance(said, dict):
        return f"expected an action such as {{actor: alice, do: fund}}; there are {known}"
    if do is None:
        return f"missing key 'do'; there are {known}"
    return f"unknown action {quoted(do)}{suggestion(str(do), ACTIONS)}; there are {known}"
