"""``holdfast`` without its imports, which cost more than most commands: forked from a process that has them already.

What runs is the program's own ``main`` in a process of its own, with arguments, streams, a directory, an environment
and an exit code. Started as ``python -m tests.end_to_end.forks SOCKET``; it ends when the socket's other end does.
"""

import gc
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

from starter import cli

_ROOMS: Final = ("starter.commands", "starter.operating", "starter.deals", "starter.reports", "starter.embedded")
_STREAMS: Final = 3
_LENGTH: Final = 4
_LONGEST: Final = 1 << 20


def run(program: Path, arguments: list[str], directory: Path, environment: dict[str, str], within: float) -> tuple[int, str, str]:  # fmt: skip  # noqa: E501
    """Run a command to its end; answers its exit code (minus the signal that ended it), stdout and stderr.

    Raises ``TimeoutError``; the command goes on then.
    """
    asked, mine = socket.socketpair()
    outs, ends = zip(os.pipe(), os.pipe(), strict=True)
    order = json.dumps([str(program), arguments, str(directory), environment]).encode()
    with open(os.devnull, "rb") as nothing, asked, mine:  # noqa: PTH123 - a stream to hand over
        socket.send_fds(_server(), [len(order).to_bytes(_LENGTH, "big")], [nothing.fileno(), *ends, asked.fileno()])
        _server().sendall(order)
        asked.close()
        for end in ends:
            os.close(end)
        said: list[bytes] = [b"", b""]
        readers = [threading.Thread(target=_read, args=(out, said, place)) for place, out in enumerate(outs)]
        for reader in readers:
            reader.start()
        mine.settimeout(within)
        code = int(mine.recv(64) or b"1")
        for reader in readers:
            reader.join()
    return code, said[0].decode(), said[1].decode()


def _read(pipe: int, said: list[bytes], place: int) -> None:
    with os.fdopen(pipe, "rb") as stream:
        said[place] = stream.read()


@cache
def _server() -> socket.socket:
    """The other end of the process with the imports, started when it is first needed."""
    mine, theirs = socket.socketpair()
    argv = [sys.executable, "-m", __name__, str(theirs.fileno())]
    subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    theirs.close()
    return mine


def _serve(orders: socket.socket) -> None:
    while True:
        head, fds, _, _ = socket.recv_fds(orders, _LENGTH, _STREAMS + 1)
        if not head:
            return
        length, order = int.from_bytes(head, "big"), b""
        while len(order) < length:
            order += orders.recv(min(length - len(order), _LONGEST))
        if not os.fork():
            orders.close()
            _obey(json.loads(order), fds)
        for one in fds:
            os.close(one)
        _bury()


def _obey(order: tuple[str, list[str], str, dict[str, str]], fds: list[int]) -> NoReturn:
    """Have a child carry the command out, and tell how it ended."""
    *streams, answer = fds
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(answer)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Streams of before would remember what kind of file they were.
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
    vars(sys.modules["__main__"])["__package__"] = None  # or it would call itself python -m and our name
    program, arguments, directory, environment = order
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    try:
        cli.main()
    finally:
        sys.excepthook(*sys.exc_info())  # main itself ends the process
        os._exit(1)


def _bury() -> None:
    """Forget those who have told how their command ended."""
    while True:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return


def main() -> None:
    """Import all that commands need, then serve."""
    for room in _ROOMS:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    gc.freeze()  # or the first collection of every command would copy all these pages
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        _serve(orders)


if __name__ == "__main__":
    main()
