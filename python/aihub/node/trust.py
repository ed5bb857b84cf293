"""First contact with a node: its host key and certificate are pinned, and our key lets us in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from aihub import process, ssh
from aihub.errors import Conflict, PreconditionFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.names import NODE_KEYS
from aihub.state import statefile
from aihub.state.directory import State


def trust_lab(hub: Hub, state: State, *, netns: str, host_key: str, certificate: Path) -> None:
    """First contact with a lab, which says by itself what to trust."""
    ssh.write(hub, state, ssh.Lab(netns))
    address = ssh.node_address(hub)
    if ssh.pinned(state, ssh.NODE) != " ".join(host_key.split()[:2]):
        ssh.close_all(state)  # another lab of the same name: what we knew of the old one is void
        statefile.unlink(state.token)
        ssh.pin(state, ssh.NODE, address, host_key)
    statefile.keep(state.certificate, certificate.read_bytes())


def trust(hub: Hub, state: State, confirm: Callable[[str], bool]) -> None:
    """First contact with a real node by the operator's own ssh: our key goes there, its key is pinned.

    `confirm` is shown the fingerprint of the host key and decides.
    """
    ssh.write(hub, state, ssh.Pve())
    address = ssh.node_address(hub)
    key = ssh.scan(state, address)
    if key is None:
        raise Unreachable(f"no ssh at {address}", where=ssh.NODE, hint="look at nodes.*.address in hub.yml")
    known = ssh.pinned(state, ssh.NODE)
    if known and known != key:
        raise Conflict(
            f"{address} answers with host key {ssh.fingerprint(key)}, not {ssh.fingerprint(known)}",
            where=ssh.NODE,
            hint=f"find out why; then remove its line from {state.known_hosts} and run `aihub trust` again",
        )
    if not known and not confirm(f"{address} has host key {ssh.fingerprint(key)}. Is that your node?"):
        raise PreconditionFailed("the node's host key was not confirmed", where=ssh.NODE)
    certificate = _introduce(state, address, key)
    ssh.pin(state, ssh.NODE, address, key)
    statefile.replace(state.certificate, certificate)
    statefile.unlink(state.token)  # it may be another machine's by now: the next `aihub up` renews it
    ssh.run(state, ssh.NODE, "true")  # the proof that our own key opens the door


def _introduce(state: State, address: str, key: str) -> bytes:
    """Adds our key on the node with the operator's own ssh; returns the API's certificate."""
    script = (
        "set -e; umask 077; mkdir -p /root/.ssh; read -r key; "
        f'grep -qxF "$key" {NODE_KEYS} 2>/dev/null || printf \'%s\\n\' "$key" >> {NODE_KEYS}; '
        "cd /etc/pve/local; cat pveproxy-ssl.pem 2>/dev/null || cat pve-ssl.pem"
    )
    with tempfile.NamedTemporaryFile("w", dir=state.ssh, suffix=".known") as known:
        known.write(f"{address} {key}\n")
        known.flush()
        options = {"UserKnownHostsFile": known.name, "GlobalKnownHostsFile": "/dev/null"}
        arguments = [item for k, v in options.items() for item in ("-o", f"{k}={v}")]
        result = process.run(
            ["ssh", "-T", "-o", "StrictHostKeyChecking=yes", *arguments, f"root@{address}", script],
            stdin=ssh.ensure_key(state).encode() + b"\n",
            check=False,
            timeout=300,  # a person may have to type a password
        )
    if result.returncode != 0 or b"BEGIN CERTIFICATE" not in result.stdout:
        told = (result.stderr or result.stdout).decode(errors="replace").strip()
        last = told.splitlines()[-1] if told else "no answer"
        raise PreconditionFailed(
            f"your own ssh could not introduce the hub's key: {last}",
            where=f"root@{address}",
            hint=f"make `ssh root@{address}` work, then run `aihub trust` again",
        )
    return result.stdout
