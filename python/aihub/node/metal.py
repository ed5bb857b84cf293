"""The node: `metal` planned and applied by a subprocess, the API token, and first contact."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from metal.desired import Desired, Flow, Record, Vault, Zone
from metal.steps import parse_label

from aihub import names as derived
from aihub import process, ssh
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.names import NODE_KEYS, Layout
from aihub.paths import ROOT
from aihub.plan import Change, Difference
from aihub.state import statefile
from aihub.state.directory import State

__all__ = [
    "apply", "desired", "ensure_token", "forget_dead", "plan", "plan_removal", "remove", "seal_shares", "trust",
    "trust_lab",
]  # fmt: skip

IMAGES = "local"  # the storage of OS images
_DEPLOY = ROOT / "python" / "metal" / "deploy.py"
_HOST = f"@ssh/{ssh.NODE}"
_STARTS = "--> Starting operation: "
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Target = Literal["lab", "pve"]
Names = Mapping[str, str]


def desired(hub: Hub, target: Target, names: Names | None = None, *, removed: bool = False) -> Desired:
    """What the node should be like; `names` are outside names it answers itself (the lab's registry)."""
    _refuse_later_kinds(hub)
    ((node, spec),) = hub.nodes.items()
    zones = tuple(
        Zone(name, hub.bridge(name), str(zone.subnet), str(hub.gateway(name)), zone.internet == "outbound")
        for name, zone in hub.zones.items()
    )
    cards = {guest.gpu for guest in hub.guests.values() if guest.gpu} if target == "pve" else set()
    return Desired(
        hub=hub.name,
        hub_id=hub.id,
        node=node,
        domain=hub.domain,
        zones=zones,
        flows=tuple(Flow(f.source, f.destination, f.port, f.protocol, f.why) for f in hub.flows),
        records=tuple(Record(guest.name, str(guest.address)) for guest in hub.guests.values()),
        names=tuple(sorted((names or {}).items())),
        storages=tuple(sorted({use.use for use in spec.storage.values()})),
        images=IMAGES,
        mappings=tuple(sorted(cards)),
        removed=removed,
    )


def plan(hub: Hub, state: State, target: Target, names: Names | None = None, *, renew: bool = False) -> list[Change]:
    """What `apply` would do to the node; changes nothing. Raises Conflict for what is not ours."""
    return _changes(hub, _metal(state, _wanted(hub, state, target, names, renew=renew), dry=True)["plan"])


def apply(hub: Hub, state: State, target: Target, names: Names | None = None, *, renew: bool = False) -> list[Change]:
    """Makes the node what the hub needs, and puts the token into `State.token`; returns what was done."""
    wanted = _wanted(hub, state, target, names, renew=renew)
    answer = _metal(state, wanted, dry=False)
    done = _changes(hub, answer["plan"], _succeeded(answer))
    if any(change.summary == f"token {wanted.token}" for change in done) and ensure_token(hub, state):
        # Proxmox made the token anew instead of renewing its value: its rights went with the old one.
        _metal(state, _wanted(hub, state, target, names), dry=False)
    return done


def plan_removal(hub: Hub, state: State, target: Target) -> list[Change]:
    """What `remove` would do."""
    return _changes(hub, _metal(state, desired(hub, target, removed=True), dry=True)["plan"])


def remove(hub: Hub, state: State, target: Target) -> list[Change]:
    """Takes everything of this hub off the node: walls, DNS, time, bridges, token, user, roles, pool."""
    answer = _metal(state, desired(hub, target, removed=True), dry=False)
    statefile.unlink(state.token)
    return _changes(hub, answer["plan"], _succeeded(answer))


def ensure_token(hub: Hub, state: State) -> bool:
    """Renews the API token's value into `State.token`; tells whether the token itself had to be made anew.

    Proxmox shows a value once, to whoever makes it: from the node's ssh it goes straight into the file. The token's
    comment then tells which value was kept, so that a run that dies in between is noticed by the next.
    """
    path = derived.token_path(hub.name)
    told = ssh.run(state, ssh.NODE, ["pvesh", "set", path, "--regenerate", "1", "--output-format", "json"], check=False)
    anew = told.returncode != 0
    if anew:
        # Before PVE 9 a value cannot be renewed.
        ssh.run(state, ssh.NODE, ["pvesh", "delete", path], check=False)
        options = ["--privsep", "1", "--comment", derived.marker(hub.id), "--output-format", "json"]
        told = ssh.run(state, ssh.NODE, ["pvesh", "create", path, *options])
    _keep_token(state, derived.token(hub.name), told.stdout)
    comment = derived.token_comment(hub.id, _mark(state))
    ssh.run(state, ssh.NODE, ["pvesh", "set", path, "--comment", comment, "--output-format", "json"])
    return anew


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


def forget_dead(state: State) -> None:
    """Removes the requests of runs that were killed."""
    for path in state.runs.glob("node-*-*.json"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            path.unlink(missing_ok=True)


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


def _wanted(hub: Hub, state: State, target: Target, names: Names | None, *, renew: bool = False) -> Desired:
    wanted = replace(desired(hub, target, names), kept="" if renew else _mark(state))
    if hub.vault is None or not state.ca.is_file():
        return wanted
    guest, port = hub.vault.guest, hub.vault.stack.main_port or 0
    return replace(wanted, vault=Vault(str(guest.address), port, guest.fqdn, state.ca.read_text()))


def seal_shares(hub: Hub, state: State, shares: Sequence[str]) -> None:
    """The shares that unseal lie on the node, sealed by its TPM2 or else by its host key, and its unit has them.

    They travel over stdin. What lies there is opened and compared first: nothing is written when it is the same.
    """
    layout = Layout(hub.name)
    text = "".join(f"{share}\n" for share in shares).encode()
    digest = hashlib.sha256(text).hexdigest()
    present = f"systemd-creds decrypt --name=shares {layout.shares} - 2>/dev/null | sha256sum | cut -c1-64"
    if ssh.run(state, ssh.NODE, present).stdout.decode().strip() == digest:
        running = f"systemctl is-active --quiet {layout.unseal_unit} || systemctl restart {layout.unseal_unit}"
        ssh.run(state, ssh.NODE, running)
        return
    fresh = f"{layout.shares}.new"
    seal = (
        f"set -e; umask 077; mkdir -p {layout.folder}; rm -f {fresh}; "
        f"systemd-creds encrypt --name=shares - {fresh} 2>/dev/null; sync {fresh}; mv {fresh} {layout.shares}"
    )
    ssh.run(state, ssh.NODE, seal, stdin=text)
    if ssh.run(state, ssh.NODE, present).stdout.decode().strip() != digest:
        raise TaskFailed("the node can't open what it has just sealed", where=ssh.NODE, hint="aihub up")
    ssh.run(state, ssh.NODE, f"systemctl restart {layout.unseal_unit}")


def _mark(state: State) -> str:
    """Which value of the token is kept here; 48 bits of a hash tell nothing about a random UUID of 122."""
    if not state.token.exists():
        return ""
    return hashlib.sha256(b"aihub token " + state.token.read_bytes().strip()).hexdigest()[:12]


def _metal(state: State, wanted: Desired, *, dry: bool) -> dict[str, Any]:
    """Runs metal and returns what pyinfra answered."""
    request = state.runs / f"node-{os.getpid()}-{threading.get_ident()}.json"
    request.write_text(wanted.as_json())
    try:
        result = _pyinfra(state, request, dry)
    finally:
        request.unlink(missing_ok=True)
    answer = _answer(result.stdout)
    if refused := answer.get("refused"):
        kind = Conflict if refused["kind"] == "conflict" else PreconditionFailed
        raise kind(refused["what"], where=f"node {wanted.node}", hint=refused["hint"])
    if result.returncode != 0 or not answer.get("plan"):
        raise _explain(wanted.node, result.stderr.decode(errors="replace"))
    return answer


def _pyinfra(state: State, request: Path, dry: bool) -> process.Result:
    data = {
        "desired": request,
        "ssh_config_file": state.ssh_config,
        "ssh_known_hosts_file": state.known_hosts,
        "ssh_strict_host_key_checking": "yes",
    }
    options = [item for key, value in data.items() for item in ("--data", f"{key}={value}")]
    return process.run(
        [sys.executable, "-m", "metal", _HOST, str(_DEPLOY), "--json", "--dry" if dry else "-y", *options],
        cwd=state.runs,  # where pyinfra looks for a config.py, and leaves its notes when it breaks
        env={"PYTHONPATH": str(ROOT / "python")},
        timeout=900,
        check=False,
    )


def _answer(output: bytes) -> dict[str, Any]:
    for line in reversed(output.decode(errors="replace").splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def _explain(node: str, text: str) -> HubError:
    """What went wrong, out of what pyinfra says on its way: when a step fails, it ends without JSON."""
    plain = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    where = f"node {node}"
    starts = [n for n, line in enumerate(plain) if line.startswith(_STARTS)]
    if starts:
        step = parse_label(plain[starts[-1]].removeprefix(_STARTS).strip())
        told = [line.strip().removeprefix(f"[{_HOST}]").strip() for line in plain[starts[-1] + 1 :]]
        reason = "\n".join(line for line in told if not line.startswith(("-->", "Error: executed")))
        return TaskFailed(f"{step.action} {step.subject} failed\n{reason}", where=where, hint="aihub up")
    tail = "\n".join(plain[-12:])
    if any(word in text for word in ("Could not connect", "SSH error", "Authentication error", "host key error")):
        return Unreachable(f"no ssh to the node\n{tail}", where=where, hint="aihub trust")
    return TaskFailed(f"metal failed\n{tail}", where=where, hint="aihub plan")


def _changes(hub: Hub, operations: list[dict[str, Any]], only: set[str] | None = None) -> list[Change]:
    node = next(iter(hub.nodes))
    found = []
    for operation in operations:
        (label,) = operation["names"]
        if label in only if only is not None else operation["hosts_with_change"]:
            step = parse_label(label)
            differences = tuple(Difference(*d) for d in step.differences)
            found.append(Change(node, step.action, "node", "root@node", step.subject, differences))
    return found


def _succeeded(answer: dict[str, Any]) -> set[str]:
    return {name for op in answer["results"]["operations"] if op["success"] for name in op["names"]}


def _keep_token(state: State, name: str, output: bytes) -> None:
    try:
        value = str(json.loads(output)["value"])
    except (ValueError, KeyError, TypeError):
        value = ""
    if not _UUID.fullmatch(value):
        raise TaskFailed(f"pvesh did not answer with the value of {name}", where=ssh.NODE, hint="aihub up")
    statefile.replace(state.token, f"{name}={value}\n".encode())


def _refuse_later_kinds(hub: Hub) -> None:
    if len(hub.nodes) != 1:
        raise PreconditionFailed(
            f"hub.yml names {len(hub.nodes)} nodes; this version prepares one",
            where=hub.path,
            hint="name one node",
        )
    if hub.file.network.gateway != "node":
        raise PreconditionFailed(
            "network.gateway: external is not prepared by this version",
            where=hub.path,
            hint="use `gateway: node`",
        )
