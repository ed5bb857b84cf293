"""Files of a guest, as they are and as they are to be: root follows no link that somebody else could have planted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
from typing import Any

LINES = 1 << 18  # characters of a file whose lines are asked for


def file_state(path: str) -> dict[str, str] | None:
    """Content, mode and owner of a file; None when there is none."""
    try:
        found = os.lstat(path)
        content = "directory" if stat.S_ISDIR(found.st_mode) else "special"
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb", opener=no_link) as handle:
                content = hashlib.sha256(handle.read()).hexdigest()
        elif stat.S_ISLNK(found.st_mode):
            content = "link " + hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {"content": content, **rights(found)}


def no_link(path: str, flags: int) -> int:
    """Opens a file, and neither follows a link that stands there by now nor waits for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def secret_state(path: str) -> dict[str, str] | None:
    """Mode and owner of a secret file, never anything of its content; None when there is none."""
    try:
        return rights(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def rights(found: os.stat_result) -> dict[str, str]:
    return {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": f"{found.st_uid}:{found.st_gid}"}


def lines(path: str) -> list[str] | None:
    """What stands in a file; None when there is none."""
    try:
        with open(path, errors="replace", opener=no_link) as handle:
            return handle.read(LINES).splitlines()
    except OSError:
        return None


def state_of(wanted: dict[str, Any]) -> dict[str, str]:
    """How a file or a directory is to be, as `file_state` tells it."""
    content = hashlib.sha256(wanted["content"].encode()).hexdigest() if "content" in wanted else "directory"
    return {"content": content, "mode": wanted.get("mode", "0644"), "owner": wanted.get("owner", "0:0")}


def place_one(wanted: dict[str, Any], check: bool) -> bool:
    """Makes one file, or a directory where there is no content."""
    path, state = wanted["path"], state_of(wanted)
    changed = file_state(path) != state
    if changed and not check:
        if "content" in wanted:
            write(path, wanted["content"].encode(), state["mode"], state["owner"], wanted.get("validate", []))
        else:
            handle = folder(path)
            adopt(handle, state["mode"], state["owner"])
            os.close(handle)
    return changed


def folder(path: str) -> int:
    """A directory, made where there is none, as an open handle.

    A link on the way is followed only where nobody but root could have put it: whoever owns a directory, like a
    container its volume, could lead root elsewhere.
    """
    here, ours = os.open("/", os.O_RDONLY | os.O_DIRECTORY), True
    try:
        for part in filter(None, path.split("/")):
            found = os.fstat(here)
            ours = ours and found.st_uid == 0 and not found.st_mode & 0o022
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
            flags = os.O_RDONLY | os.O_DIRECTORY | (0 if ours else os.O_NOFOLLOW)
            below = os.open(part, flags, dir_fd=here)
            os.close(here)
            here = below
    except OSError as error:
        os.close(here)
        raise OSError(error.errno, f"{path}: no way there without following what is not root's") from error
    return here


def remove(path: str) -> None:
    """Removes a file; fine if there is none."""
    if os.path.lexists(path):
        handle = folder(os.path.dirname(path))
        os.unlink(os.path.basename(path), dir_fd=handle)
        os.close(handle)


def write(path: str, data: bytes, mode: str, owner: str, validate: list[str]) -> None:
    """Replaces a file in one step, after `validate` with the new file's path has agreed."""
    here, name = folder(os.path.dirname(path)), os.path.basename(path)
    fresh = f".{name}.hub-new"
    try:
        unlink(fresh, here)  # a run that was killed may have left it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=here), "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
            adopt(handle.fileno(), mode, owner)
        new = os.path.join(os.path.dirname(path), fresh)
        if validate and subprocess.run([*validate, new], stdout=sys.stderr, check=False).returncode != 0:
            sys.exit(f"{path}: {validate[0]} refuses the new text; the old one stays")
        os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)
    finally:
        unlink(fresh, here)
        os.close(here)


def unlink(name: str, here: int) -> None:
    """Removes a file from an open directory; fine if there is none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=here)


def adopt(handle: int, mode: str, owner: str) -> None:
    """Sets owner and mode of what is open."""
    uid, gid = owner.split(":")
    os.fchown(handle, int(uid), int(gid))
    os.fchmod(handle, int(mode, 8))
