"""Users of a guest, written into its files: no program of a guest's root file system is ever run on the machine."""

from __future__ import annotations

import re
import time

from .errors import LabError
from .process import run
from .root import Root

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_FIRST, _LAST = 1000, 59_999
_DAY = 86_400
_SKELETON = (".bashrc", ".profile", ".bash_logout")


def entry(root: Root, user: str) -> list[str] | None:
    """A user's fields in /etc/passwd."""
    lines = _table(root, "passwd")
    return next((line for line in lines if line[0] == user and len(line) > 6 and line[2].isdigit()), None)


def add(root: Root, user: str) -> None:
    """Adds a user with a home directory, as `useradd --create-home` does."""
    if not _NAME.fullmatch(user):
        raise LabError(f"{user!r} is no name for a user")
    lines = (*_table(root, "passwd"), *_table(root, "group"))
    taken = {line[2] for line in lines if len(line) > 2}
    number = next(free for free in range(_FIRST, _LAST) if str(free) not in taken)
    _append(root, "passwd", f"{user}:x:{number}:{number}::/home/{user}:/bin/bash", 0o644)
    _append(root, "group", f"{user}:x:{number}:", 0o644)
    _append(root, "shadow", f"{user}:!:{_today()}:0:99999:7:::", 0o640)
    home = f"home/{user}"
    root.folder(home, 0o700)
    for name in _SKELETON:
        if text := root.read(f"etc/skel/{name}"):
            root.write(f"{home}/{name}", text)
            root.give(f"{home}/{name}", number)
    root.give(home, number)


def set_password(root: Root, user: str, password: str) -> None:
    """Sets a password, given in clear or as a hash."""
    hashed = password
    if not password.startswith("$"):
        hashed = run(["openssl", "passwd", "-6", "-stdin"], stdin=f"{password}\n".encode()).stdout.decode().strip()
    if re.search(r"[:\s]", hashed):
        raise LabError("what is given is no password's hash")
    lines = _table(root, "shadow")
    found = next((line for line in lines if line[0] == user), None)
    if found is None:
        _append(root, "shadow", f"{user}:{hashed}:{_today()}:0:99999:7:::", 0o640)
        return
    found[1:3] = [hashed, str(_today())]
    root.rewrite("etc/shadow", "".join(":".join(line) + "\n" for line in lines))


def _table(root: Root, name: str) -> list[list[str]]:
    return [line.split(":") for line in root.read(f"etc/{name}").splitlines() if line]


def _append(root: Root, name: str, line: str, mode: int) -> None:
    before = root.read(f"etc/{name}")
    if before and not before.endswith("\n"):
        before += "\n"
    if before:
        root.rewrite(f"etc/{name}", f"{before}{line}\n")
    else:
        root.write(f"etc/{name}", f"{line}\n", mode)


def _today() -> int:
    return int(time.time()) // _DAY
