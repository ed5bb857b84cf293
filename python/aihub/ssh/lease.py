"""The lease on the node: two machines cannot apply to one hub at the same time.

The flock of `aihub.lock` holds off other runs of this machine; the lease holds off other machines. It ends by
itself, for a machine that never comes back.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from aihub import names, process
from aihub.errors import Locked, TaskFailed
from aihub.model.resolved import Hub
from aihub.state.directory import State

from . import config, connection

TTL = 2 * 3600  # seconds; longer than the longest run
_TAKEN = 75

# The file holds one line: when it ends (epoch), whose it is, who that is in words. A lease of the asking
# machine itself is left over from a run that died, since this run has the machine's flock.
_TAKE = r"""
f=$1 owner=$2 ttl=$3 text=$4
exec 9>"$f.lock" && flock -w 10 9 || exit 1
now=$(date +%s)
if read -r end who what 2>/dev/null <"$f" && [ "$who" != "$owner" ] && [ "$end" -gt "$now" ]; then
  printf '%s, until %s' "$what" "$(date -u -d "@$end" '+%F %H:%M UTC')"
  exit 75
fi
printf '%s %s %s\n' "$((now + ttl))" "$owner" "$text" >"$f.new" && mv "$f.new" "$f"
"""

_RELEASE = r"""
f=$1 owner=$2
exec 9>"$f.lock" && flock -w 10 9 || exit 1
read -r end who what 2>/dev/null <"$f" && [ "$who" = "$owner" ] && rm -f "$f"
exit 0
"""


def take_lease(hub: Hub, state: State, holder: str, ttl: int = TTL) -> None:
    """Takes the hub's lease on the node, or Locked with the holder's name."""
    result = _on_node(hub, state, _TAKE, str(ttl), " ".join(holder.split()))
    if result.returncode == _TAKEN:
        who = result.stdout.decode(errors="replace")
        raise Locked(
            f"another machine holds the lease on the node: {who}",
            where=_path(hub),
            hint="wait until it has ended, then run the same command again",
        )
    if result.returncode != 0:
        raise TaskFailed(f"no lease on the node: {result.stderr.decode(errors='replace').strip()}", where=_path(hub))


def release_lease(hub: Hub, state: State) -> None:
    """Gives the lease back, if it is still ours."""
    _on_node(hub, state, _RELEASE)


def _on_node(hub: Hub, state: State, script: str, *more: str) -> process.Result:
    command = ["sh", "-c", script, "-", _path(hub), _owner(state.directory), *more]
    return connection.run(state, config.NODE, command, check=False, timeout=30)


def _path(hub: Hub) -> str:
    return names.lease(hub.id)


def _owner(directory: Path) -> str:
    """This machine and state directory, as one word."""
    return f"{socket.gethostname()}:{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
