"""People's text, made harmless for terminals, logs and spreadsheets: what cannot be seen is shown by its number."""

from typing import Final

# What makes a spreadsheet take a cell for a formula, in both widths. Source: OWASP, "CSV Injection".
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def visible(text: str) -> str:
    r"""One line that shows every character: ``a\u202eb`` for a mark that turns text around, ``\\`` for a backslash."""
    return "".join("\\\\" if one == "\\" else _shown(one) for one in text)


def visible_json(text: str) -> str:
    """The same for JSON that writes its letters as they are: there a backslash begins an escape already."""
    return "".join(map(_shown, text))


def cell(text: str) -> str:
    """A cell of a spreadsheet that stays text: one that would be a formula gets an apostrophe before it."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def _shown(character: str) -> str:
    """Control characters (terminals obey them), format characters (U+202E turns a line around, others hide in it),
    halves of characters, and every separator but the blank: none of them is printable.
    """
    if character.isprintable():
        return character
    # As JSON writes it: two halves beyond the first 65,536.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
