"""The lease on the node: two machines cannot apply to one hub at the same time.

The flock of `aihub.lock` holds off other runs of this machine; the lease holds off other machines. It is short and
renewed while it is held, so that it ends soon after a machine that never comes back.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aihub import names, process
from aihub.errors import HubError, Locked, TaskFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.state import lock
from aihub.state.directory import State

from . import config, connection

TTL = 300  # seconds
EVERY = 60.0  # seconds between two renewals, and what must be left of the lease when something is begun
AGAIN = 10.0  # seconds until the next try after a renewal that failed
_TAKEN = 75
_MACHINE = Path("/etc/machine-id")

# The file holds one line: when it ends (epoch, by the node's clock), whose it is, who that is in words.
_LOCKED = r"""
f=$1 owner=$2 text=$3 ttl=$4
exec 9>"$f.lock" && flock -w 10 9 || { echo "$f.lock is in use" >&2; exit 1; }
now=$(date +%s)
"""
_WRITE = r"""
printf '%s %s %s\n' "$((now + ttl))" "$owner" "$text" >"$f.new" && mv "$f.new" "$f"
"""

# A lease of the asking machine itself is left over from a run that died, since this run has the machine's flock.
_TAKE = (
    _LOCKED
    + r"""
if read -r end who what 2>/dev/null <"$f" && [ "$who" != "$owner" ] && [ "$end" -gt "$now" ]; then
  printf '%s; unless it is renewed it ends in %s s' "$what" "$((end - now))"
  exit 75
fi
"""
    + _WRITE
)

# One that has ended and that nobody took meanwhile is still ours; one that is gone was somebody's in between.
_RENEW = (
    _LOCKED
    + r"""
read -r end who what 2>/dev/null <"$f"
if [ "$who $what" != "$owner $text" ]; then
  printf '%s' "$what"
  exit 75
fi
"""
    + _WRITE
)

# Whichever run of this machine took it: the one that gives it back has the machine's flock.
_RELEASE = (
    _LOCKED
    + r"""
read -r end who what 2>/dev/null <"$f" && [ "$who" = "$owner" ] && rm -f "$f"
exit 0
"""
)


class Lease:
    """A hub's lease on its node, for one run. `take` it first; `keep` renews it until it is told to stop."""

    def __init__(self, hub: Hub, state: State, holder: str) -> None:
        self._hub = hub
        self._state = state
        self._holder = " ".join(holder.split())
        self._mutex = threading.Lock()
        self._until = 0.0
        self._lost: str | None = None

    def take(self) -> None:
        """Raises Locked with the holder's name, Unreachable, and TaskFailed."""
        with self._mutex:
            if who := self._write(_TAKE):
                raise Locked(
                    f"another machine holds the lease on the node: {who}",
                    where=_path(self._hub),
                    hint="wait until it has ended, then run the same command again",
                )

    @contextmanager
    def away(self) -> Iterator[None]:
        """While the node boots nobody asks for the lease, which ends with the node's memory; then it is taken anew.

        Raises Locked when another machine was faster.
        """
        with self._mutex:
            yield
            if who := self._write(_TAKE):
                self._lost = f"{who} has it"
                raise Locked(f"the lease on the node was lost while it booted: {who}", where=_path(self._hub))

    def still_held(self) -> None:
        """Returns when the lease is ours for a while, renewed now if need be, as after a laptop's sleep.

        Raises Locked when it was lost, and Unreachable when it ends soon and can't be renewed.
        """
        with self._mutex:
            if self._lost is None and clock() > self._until - EVERY:
                try:
                    self._renew()
                except HubError as error:
                    text = f"the lease on the node can't be renewed and ends: {error.what}"
                    raise Unreachable(text, where=_path(self._hub), hint="run the same command again") from error
            if self._lost is not None:
                raise Locked(
                    f"the lease on the node was lost: {self._lost}",
                    where=_path(self._hub),
                    hint="what was done stays done; look at `aihub plan`, then run the same command again",
                )

    def keep(self, stop: threading.Event) -> None:
        """Renews until `stop`, or until it is lost; what fails is tried again, and `still_held` tells of it."""
        pause = EVERY
        while not stop.wait(pause) and self._lost is None:
            pause = AGAIN
            with self._mutex, suppress(HubError):
                self._renew()
                pause = EVERY

    def give_back(self, say: Callable[[str], None]) -> None:
        """Ends the lease, if it is this machine's, be it of a run that was killed; `say` is told when that can't be."""
        try:
            self._on_node(_RELEASE)
        except HubError as error:
            say(f"the lease on the node stays until it ends by itself, {TTL} s at most: {error}")

    def _renew(self) -> None:
        who = self._write(_RENEW)
        if who is not None:
            self._lost = f"{who} has it" if who else "the node was restarted, or another machine had it in between"

    def _write(self, script: str) -> str | None:
        """None when the lease is ours from now on, else who has it."""
        began = clock()
        result = self._on_node(script)
        if result.returncode == _TAKEN:
            return result.stdout.decode(errors="replace")
        if result.returncode != 0:
            text = result.stderr.decode(errors="replace").strip()
            raise TaskFailed(f"no lease on the node: {text}", where=_path(self._hub))
        self._until = began + TTL
        return None

    def _on_node(self, script: str) -> process.Result:
        command = ["sh", "-c", script, "-", _path(self._hub), _owner(self._state.directory), self._holder, str(TTL)]
        return connection.run(self._state, config.NODE, command, check=False, timeout=30)


@contextmanager
def held(hub: Hub, state: State, verb: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """Holds the hub's lease for a run of `verb`: whoever writes asks `still_held` before.

    Raises Locked with the holder's name. `say` is told when it can't be given back.
    """
    lease, stop = Lease(hub, state, str(lock.me(verb))), threading.Event()
    lease.take()
    keeper = threading.Thread(target=lease.keep, args=(stop,), daemon=True, name="lease")
    keeper.start()
    try:
        yield lease
    finally:
        stop.set()
        keeper.join()
        lease.give_back(say)


def clock() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _path(hub: Hub) -> str:
    return names.lease(hub.id)


def _owner(directory: Path) -> str:
    """This machine and state directory, as one word; two machines may have one name."""
    machine = _MACHINE.read_text() if _MACHINE.exists() else ""
    return f"{socket.gethostname()}:{hashlib.sha256(f'{machine}{directory}'.encode()).hexdigest()[:12]}"
