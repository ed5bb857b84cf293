"""Ends what a dead run leaves behind: one such process stands beside every run that starts programs.

On Linux a child whose parent dies goes on under pid 1. PR_SET_PDEATHSIG is no way out: it is bound to the parent's
*thread*, so that a child started by a worker dies when that worker ends; a grandchild does not have it; and it is set
after the fork, when the parent may be dead already. Sessions and process groups are left as well: Ansible's workers
each open their own. What every descendant keeps is the environment that its first program began with. So:

- Each child gets a mark there, RUN.NUMBER, and the run says over a socket which numbers begin and end.
- Nobody but the run has the other end of that socket, and a child just forked, until it becomes its program and thus
  has its mark. So the socket ends when the run is dead, however it died, and every child can be known.
- Then whatever has the mark of a number that has not ended is killed, until nothing more is found; its children too,
  which may be without one: `lxc-attach` gives what it starts in a container another environment. All of them are
  stopped before the first is killed: a fork is done before that signal or not at all, so that none loses its parent
  unseen.

What a child left running on purpose before it ended stays: its number has ended. An ssh that shares its connection
writes its title over its environment and stays, too.

Locks of the run come over the socket: the next run gets them when this process has done its work.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Set

MARK = "AIHUB_CHILD"
QUIET = 0.25  # seconds without a find: a program that is just being loaded shows no environment yet
PAUSE = 0.01
LIMIT = 60.0  # a process that hangs in the kernel dies when that lets go of it


def main(run: str) -> None:
    """Follows a run by the socket on standard input, then ends what it left."""
    os.chdir("/")
    running = follow(socket.socket(fileno=0))
    last, limit = time.monotonic(), time.monotonic() + LIMIT
    stopped: set[tuple[int, bytes]] = set()
    while running and time.monotonic() < min(last + QUIET, limit):
        if found := set(left(run, running).items()):
            last = time.monotonic()
        fresh = found - stopped
        for pid, began in fresh or found:
            send(signal.SIGSTOP if fresh else signal.SIGKILL, pid, began)
        stopped |= fresh
        time.sleep(PAUSE)


def follow(link: socket.socket) -> set[int]:
    """The numbers of the children that still ran when the run ended; keeps the locks that it hands over."""
    running: set[int] = set()
    text = b""
    while True:
        data, _locks, _flags, _ = socket.recv_fds(link, 1 << 16, 16)
        if not data:
            return running
        *lines, text = (text + data).split(b"\n")
        for line in filter(None, lines):
            (running.add if line[:1] == b"+" else running.discard)(int(line[1:]))


def left(run: str, numbers: Set[int]) -> dict[int, bytes]:
    """When what is left of these children began, by pid: what has their mark, and the children of that."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  (pathlib loads slowly)
    known = {pid: look(pid) for pid in pids}
    start = f"{MARK}={run}.".encode()
    found = {pid for pid in known if any(number in numbers for number in marks(pid, start))}
    while more := {pid for pid, (parent, _) in known.items() if parent in found and not watches(pid)} - found:
        found |= more
    return {pid: known[pid][1] for pid in found}


def look(pid: int) -> tuple[int, bytes]:
    """Parent and start time of a process; zeros when there is none any more, or only its exit code."""
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[1]), fields[19]) if fields and fields[0] not in (b"Z", b"X") else (0, b"")


def watches(pid: int) -> bool:
    """Whether it is the like of us, of a run inside that run: it has work to do when that dies."""
    return any(word.endswith(b"/reaper.py") for word in read(pid, "cmdline").split(b"\0"))


def marks(pid: int, start: bytes) -> Iterator[int]:
    """The numbers in the marks of a process."""
    for entry in read(pid, "environ").split(b"\0"):
        if entry.startswith(start) and (number := entry[len(start) :]).isdigit():
            yield int(number)


def read(pid: int, what: str) -> bytes:
    """What /proc tells about a process; nothing when it is gone or somebody else's."""
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


def send(number: int, pid: int, began: bytes) -> None:
    """Sends a signal to a process if it is still the one that was found."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if look(pid)[1] == began:
            signal.pidfd_send_signal(handle, number)
    except OSError:
        pass
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(sys.argv[1])
