"""The commands that we suggest, as this program was called: `.venv/bin/holdfast` is on nobody's PATH."""

import shlex
import shutil
import sys
from pathlib import Path

EXAMPLE = "examples/website-redesign.yaml"


def suggested(command: str, *arguments: str | Path, home: Path | None = None) -> str:
    """A line that works when it is copied into the shell that we were called from. ``home`` is ``--home``, if given."""
    given = ["--home", str(home)] if home else []
    return shlex.join([_program(), command, *map(str, arguments), *given])


def _program() -> str:
    """A script that was found on PATH gets its whole path; there the name alone is what was typed."""
    called = sys.argv[0]
    name = Path(called).name
    return name if shutil.which(name) == called else called
