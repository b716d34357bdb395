"""What the milestones of a deal can be called by in its file, and what becomes of that as the agreement changes."""

from collections.abc import Iterable
from typing import Protocol

from starter.deals.written import MilestoneNumber, Written

Names = tuple[tuple[str, ...], ...]


class Titled(Protocol):
    """A milestone, or one that is agreed on."""

    @property
    def title(self) -> str:
        """What it is called."""

    @property
    def description(self) -> str | None:
        """What a template calls it in Thai."""


def names_of(milestones: Iterable[Titled]) -> Names:
    """The names of each milestone: its title, and its description (a template's title in Thai)."""
    return tuple(tuple(filter(None, (one.title, one.description))) for one in milestones)


def renamed(names: Names, do: str, said: Written) -> Names:
    """The names after an action: ``amend`` may replace all, ``add_milestone`` adds one, ``change_milestone``
    renames one, any other leaves them as they are.
    """
    title, description = getattr(said, "title", None), getattr(said, "description", None)
    named = getattr(said, "milestone", None)
    if do == "amend" and (drafts := getattr(said, "milestones", None)):
        return names_of(drafts)
    if do == "add_milestone":
        return (*names, tuple(filter(None, (title, description))))
    if do == "change_milestone" and isinstance(named, MilestoneNumber):
        old_title, *others = names[named.number - 1]
        new = (title or old_title, *([description] if description else others))
        return (*names[: named.number - 1], new, *names[named.number :])
    return names
