"""The containers of a lab as the process table knows them, whatever became of the lab's namespace.

Each container has a process of lxc's own, its monitor, outside of it: it names the container in its command line, and
the container's init is its child.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from . import namespace
from .errors import LabError
from .lab import Lab
from .process import Process, end, listed

_TITLE = "[lxc monitor] "


@dataclass(frozen=True)
class Monitor:
    """One container that runs."""

    name: str
    directory: str  # the path by which lxc knows the lab's containers
    process: Process
    inits: tuple[Process, ...]
    namespace: int


def of(lab: Lab) -> list[Monitor]:
    """All containers of a lab that run, in whatever namespace."""
    places = {str(lab.containers), str(lab.seen)}
    found = []
    # A guest's process may call itself anything, but it is not root's.
    for process in listed(lambda path: path.stat().st_uid == 0 and _described(path)[0] in places):
        folder = Path(f"/proc/{process.pid}")
        try:
            directory, name = _described(folder)
            number = (folder / "ns/net").stat().st_ino
            tasks = [(task / "children").read_text() for task in (folder / "task").iterdir()]
            children = [int(pid) for text in tasks for pid in text.split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        inits = tuple(child for pid in children if (child := Process.of(pid)))
        if process.runs:
            found.append(Monitor(name, directory, process, inits, number))
    return found


def _described(folder: Path) -> tuple[str, str]:
    title = (folder / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    directory, _, name = title.removeprefix(_TITLE).rpartition(" ")
    return (directory, name) if title.startswith(_TITLE) else ("", "")


def refuse_strays(lab: Lab) -> None:
    """Raises LabError when a container runs that this lab's lxc would not find: it would start it a second time."""
    here = namespace.number(lab)
    strays = sorted(m.name for m in of(lab) if m.namespace != here or m.directory != str(lab.seen))
    if strays:
        raise LabError(
            f"in a namespace that lost its name: {', '.join(strays)} of lab {lab.name}",
            hint=f"pvelab down {lab.name}",
        )


def end_all(lab: Lab) -> list[str]:
    """Ends what still runs, its init first; returns the names."""
    left = of(lab)
    for monitor in left:
        for init in monitor.inits:
            init.signal(signal.SIGKILL)
        end(monitor.process, 10)
    return sorted(monitor.name for monitor in left)
