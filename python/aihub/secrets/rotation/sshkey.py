"""The controller's own ssh key: the new one is let in everywhere and proven, before the old one is shut out.

STATE/ssh/id_ed25519.next[.pub] is the new pair until every guest and the node have let it in; then it takes the place
of the old one by two renames. Killed anywhere, a second run goes on: what lies in the directory says how far it came.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from aihub import crashpoint, parallel, process, ssh
from aihub.errors import HubError, PreconditionFailed
from aihub.guests import ansible as guests
from aihub.model.resolved import Hub
from aihub.names import NODE_KEYS
from aihub.state.directory import State

GUEST_KEYS = "/etc/ssh/hub_authorized_keys"
Say = Callable[[str, str], None]


def pending(state: State) -> bool:
    """Whether an earlier run was killed on its way."""
    return _next(state).exists() or _public(_next(state)).exists() or _former(state).exists()


def rotate(hub: Hub, state: State, say: Say = lambda _subject, _text: None) -> None:
    """Node and guests take a new key and refuse the old one. Raises HubError when one of them can't be reached.

    Every guest must answer: one that is away would be out of systems afterwards.
    """
    ssh.ensure_key(state)
    aliases = [ssh.NODE, *hub.guests]
    fresh = _next(state)
    if fresh.exists() or not pending(state):
        ssh.make_key(state, fresh)
        parallel.for_all(aliases, lambda alias: _let_in(state, alias, say))
        parallel.for_all(aliases, lambda alias: _prove(state, alias))
        _keep_former(state)
        _take(fresh, state.key)
    if _public(fresh).exists():
        _take(_public(fresh), _public(state.key))
    for alias in aliases:
        ssh.close(state, alias)
    _shut_out(hub, state, say)


def _let_in(state: State, alias: str, say: Say) -> None:
    say(alias, "lets the new key in")
    keys = NODE_KEYS if alias == ssh.NODE else GUEST_KEYS
    script = _append_script(keys)
    with crashpoint.write(f"key let in at {alias}"):
        ssh.run(state, alias, script, stdin=_public(_next(state)).read_bytes())


def _append_script(keys: str) -> str:
    # A new file in the place of the old: a login at this very moment reads one or the other, never half of one.
    return (
        f'set -e; umask 077; read -r key; test -e {keys} || : > {keys}; grep -qxF "$key" {keys} && exit 0; '
        f"cp -p {keys} {keys}.new; printf '%s\\n' \"$key\" >> {keys}.new; mv {keys}.new {keys}"
    )


def _prove(state: State, alias: str) -> None:
    """A login with the new key alone, on a connection of its own."""
    config = state.ssh / f"config.next.{alias}"
    config.write_text(state.ssh_config.read_text().replace(str(state.key), str(_next(state))))
    try:
        argv = ["ssh", "-F", str(config), "-T", "-o", "ControlMaster=no", "-o", "ControlPath=none", alias, "true"]
        if process.run(argv, check=False, timeout=60).returncode != 0:
            raise PreconditionFailed(
                "ssh does not get in with the new key, so the old one stays",
                where=alias,
                hint="aihub secrets rotate controller/ssh",
            )
    finally:
        config.unlink(missing_ok=True)


def _keep_former(state: State) -> None:
    """The old public key's text, to shut it out by: its own file is about to be replaced."""
    _former(state).write_text(_public(state.key).read_text())


def _take(source: Path, target: Path) -> None:
    with crashpoint.write(f"rename {source.name}"):
        source.replace(target)


def _shut_out(hub: Hub, state: State, say: Say) -> None:
    """Guests get the list of keys that hub.yml and the new key make; on the node our old line goes."""
    wanted = {name: ["ssh"] for name in hub.guests}
    guests.converge(hub, state, wanted, phase="machine", progress=say)
    former = _former(state)
    if not former.exists():
        return
    say(ssh.NODE, "refuses the old key")
    files = hub.target.node_keys
    script = (
        f"set -e; umask 077; read -r key; for f in {' '.join(files)}; do test -e $f || continue; cp -p $f $f.new; "
        '{ grep -vxF "$key" $f || :; } > $f.new; mv $f.new $f; done'
    )
    ssh.run(state, ssh.NODE, script, stdin=former.read_bytes())
    _require_refused(state, ssh.NODE, files)
    for name in hub.guests:
        _require_refused(state, name, [GUEST_KEYS])
    former.unlink()


def _require_refused(state: State, alias: str, files: Sequence[str]) -> None:
    former = shlex.quote(_former(state).read_text().split()[1])
    if ssh.run(state, alias, f"cat {' '.join(files)} 2>/dev/null | grep -cF {former} || :").stdout.strip() != b"0":
        raise HubError("the old key is still let in", where=alias, hint="aihub secrets rotate controller/ssh")


def _next(state: State) -> Path:
    return state.key.with_name(f"{state.key.name}.next")


def _public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def _former(state: State) -> Path:
    return state.key.with_name(f"{state.key.name}.former.pub")
