"""PostgreSQL refuses to run as root, so under root it runs as an ordinary user who may just pass to its files."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NAME = "pgserver"
_ANYONE_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_ANYONE_MAY_ENTER = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True)
class User:
    """Whom a process runs as, in numbers."""

    uid: int
    gid: int


def user_for(data: Path) -> User | None:
    """Return whom PostgreSQL must run as: ``None`` for ourselves, under root the data's owner or a user made for it."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return User(data.stat().st_uid, data.stat().st_gid)
    entry = _find(_NAME) or _create(_NAME) or pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


def open_way(user: User, path: Path) -> None:
    """Let ``user`` pass through every directory above ``path``: only the traverse bit, and only where it is missing."""
    for directory in path.resolve().parents:
        status = directory.stat()
        needed = stat.S_IXUSR if status.st_uid == user.uid else stat.S_IXOTH
        if not status.st_mode & needed:
            directory.chmod(stat.S_IMODE(status.st_mode) | needed)


def open_tree(tree: Path) -> None:
    """Let everyone read and run the programs below ``tree``, which a strict umask at installation may have closed."""
    for path in (tree, *tree.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | _ANYONE_MAY_READ | (_ANYONE_MAY_ENTER if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd:
        # It may fail because another process does the same at this moment; what counts is whether the user is there.
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        subprocess.run(command, check=False, capture_output=True)
    return _find(name)
