"""The one way in: one generated ssh_config per hub and target, its key, and its pinned host keys.

Everything that speaks ssh reads `State.ssh_config`: Ansible, pyinfra, testinfra, the sockets forwarded for
docker and reconcile, `aihub ssh`. Aliases are the guests' names and `node`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aihub import process
from aihub.errors import Conflict, HubError, InvalidInput, PreconditionFailed, Unreachable
from aihub.model.resolved import Guest, Hub
from aihub.state import statefile
from aihub.state.directory import State

NODE = "node"
PERSIST = "5m"  # an idle forward ends with its master: longer than the slowest check
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
SOCKET_PATH_LIMIT = 107
_MUX_SUFFIX = 17  # ssh first binds NAME.RANDOM beside the socket, then renames it


@dataclass(frozen=True)
class Lab:
    """Guests and node live in a network namespace of this machine."""

    netns: str

    def proxy(self) -> str:
        return f"ProxyCommand nsenter --net=/run/netns/{self.netns} nc %h %p"


@dataclass(frozen=True)
class Pve:
    """The node answers on the LAN; guests are reached through it."""

    def proxy(self) -> str:
        return f"ProxyJump {NODE}"


Via = Lab | Pve


def write(hub: Hub, state: State, via: Via) -> None:
    """Writes the ssh_config of a hub on one target, and makes what it points to."""
    state.make()
    _refuse_unquotable(state)
    make_control(state.control)
    ensure_key(state)
    if not state.known_hosts.exists():
        state.known_hosts.touch(mode=0o600)
    if NODE in hub.guests:
        raise InvalidInput(f"no guest may be called {NODE}: the Proxmox host is", where=hub.path)
    hosts = {NODE: str(node_address(hub)), **{g.name: str(g.address) for g in hub.guests.values()}}
    pinned_as = {NODE: NODE, **{g.name: g.id for g in hub.guests.values()}}  # a guest that is renamed keeps its key
    longest = len(f"{state.control}/{max(hosts, key=len)}") + _MUX_SUFFIX
    if longest > SOCKET_PATH_LIMIT:
        raise PreconditionFailed(
            f"control sockets under {state.control} would be {longest} characters long, the system takes "
            f"{SOCKET_PATH_LIMIT}",
            hint="use a shorter XDG_RUNTIME_DIR",
        )
    statefile.keep(state.ssh_config, "".join(_host(a, h, pinned_as[a], via) for a, h in hosts.items()) + _common(state))
    statefile.keep(_via_file(state), json.dumps({"netns": via.netns if isinstance(via, Lab) else None}) + "\n")


def relocate(state: State, addresses: Mapping[str, str]) -> tuple[str, ...]:
    """Has the written ssh_config look for aliases at these addresses; returns those that were elsewhere before.

    A guest is where it stands, and not where hub.yml wants it, until the change of its address was made.
    """
    found = aliases(state)
    moved = tuple(alias for alias, address in addresses.items() if found.get(alias, address) != address)
    text = state.ssh_config.read_text() if moved else ""
    for alias in moved:
        before = f"Host {alias}\n  HostName {found[alias]}\n"
        text = text.replace(before, f"Host {alias}\n  HostName {addresses[alias]}\n")
    if moved:
        statefile.keep(state.ssh_config, text)
    return moved


def node_address(hub: Hub) -> str:
    """The address of the hub's one node."""
    return str(next(iter(hub.nodes.values())).address)


def argv(state: State, alias: str, *options: str) -> list[str]:
    """The start of an ssh command line that uses nothing but our own configuration."""
    return ["ssh", "-F", str(state.ssh_config), *options, alias]


def argv_of_undeclared(state: State, alias: str, address: str, pinned_as: str) -> list[str]:
    """The same for a guest that hub.yml no longer has, and the written ssh_config therefore neither.

    It shares no connection: nobody would end it, as that is done for each alias of the ssh_config.
    """
    netns = json.loads(_via_file(state).read_text())["netns"]
    words = [
        f"HostName {address}",
        f"HostKeyAlias {pinned_as}",
        (Lab(netns) if netns else Pve()).proxy(),
        "ControlMaster no",
        "ControlPath none",
    ]
    return argv(state, alias, *(word for text in words for word in ("-o", text)))


def aliases(state: State) -> dict[str, str]:
    """Alias -> address, as the written ssh_config has them."""
    if not state.ssh_config.exists():
        return {}
    text = state.ssh_config.read_text()
    return dict(re.findall(r"^Host (\S+)\n {2}HostName (\S+)$", text, re.MULTILINE))


def control_directory(state: State) -> Path | None:
    """Where the written ssh_config keeps its control sockets; the environment may have changed since."""
    if not state.ssh_config.exists():
        return None
    found = re.search(r"^ {2}ControlPath (.+)/%n$", state.ssh_config.read_text(), re.MULTILINE)
    return Path(found[1]) if found else None


def ensure_key(state: State) -> str:
    """The controller's public key for this hub and target; made when there is none."""
    state.make()
    return make_key(state, state.key)


def make_key(state: State, path: Path) -> str:
    """Makes a key pair at `path`, or what of it is missing; returns its public half.

    It is made in a folder of this run alone and put in place whole, the private half first: a killed run leaves no half
    of a key, and runs at the same time all end up with the same one.
    """
    public = path.with_name(f"{path.name}.pub")
    if not (path.exists() and public.exists()):
        with state.scratch("key") as folder:
            new, text = folder / "key", folder / "key.pub"
            if not path.exists():
                comment = f"aihub {state.directory.name}"
                process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(new)])
                if _place(new, path):
                    text.replace(public)  # over that of a private half that is no more
            if not public.exists():
                text.write_bytes(process.run(["ssh-keygen", "-y", "-f", str(path)]).stdout)
                _place(text, public)
    return public.read_text().strip()


def _place(new: Path, path: Path) -> bool:
    """Puts a file in its place unless there is one."""
    with suppress(FileExistsError):
        path.hardlink_to(new)
        return True
    return False


def pin(state: State, alias: str, address: str, key_line: str) -> None:
    """Trusts exactly this host key (`TYPE BASE64`) for an alias and its address, in place of any other."""
    kind, key = _parse_key(key_line)

    def edit(lines: list[str]) -> list[str]:
        others = [line for line in lines if not _names(line) & {alias, address}]
        return [*others, f"{alias},{address} {kind} {key}"]

    _edit_known_hosts(state, edit)


def pinned(state: State, alias: str) -> str | None:
    """The host key (`TYPE BASE64`) that is trusted for an alias."""
    return next(_pins(state, alias), None)


def forget(state: State, alias: str) -> None:
    """Removes the pinned host key of an alias, and of its address."""
    _edit_known_hosts(state, lambda lines: [line for line in lines if alias not in _names(line)])


def fingerprint(key_line: str) -> str:
    """The fingerprint of a host key as OpenSSH and the Proxmox task log print it."""
    digest = hashlib.sha256(base64.b64decode(_parse_key(key_line)[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def scan_and_pin(state: State, guest: Guest, fingerprints: Sequence[str] | None, timeout: float = 90) -> str:
    """Pins a new guest's host key if its fingerprint is one of those given; returns the fingerprint.

    None accepts what answers, and only from a VM, which our own run has just created. A container without any must
    answer with the key that a person has pinned by hand. Raises Conflict for any other key, and Unreachable.
    """
    address = str(guest.address)
    key = _wait_for_key(state, guest.name, address, timeout)
    seen = fingerprint(key)
    if fingerprints is not None or guest.kind != "vm":
        expected = _FINGERPRINT.findall("\n".join(fingerprints or ()))
        if not expected and key.split()[:2] not in [line.split()[:2] for line in _pins(state, guest.id)]:
            raise _unknown_key(state, guest, seen)
        if expected and seen not in expected:
            raise Conflict(
                f"{address} answers with host key {seen}, not with one that the create task printed: "
                + ", ".join(expected),
                where=guest.name,
                hint="something else holds this address: find it before you run `aihub up` again",
            )
    pin(state, guest.id, address, key)
    return seen


def _unknown_key(state: State, guest: Guest, seen: str) -> Conflict:
    return Conflict(
        f"{guest.address} answers with host key {seen}, and the log of its create task, which would tell whether that "
        "is the guest's, is gone or names none",
        where=guest.name,
        hint=f"as root on {guest.node}: pct exec {guest.vmid} -- cat /etc/ssh/ssh_host_ed25519_key.pub; append "
        f"`{guest.id},{guest.address} ` and what that prints to {state.known_hosts}, then run `aihub up` again",
    )


def scan(state: State, address: str) -> str | None:
    """The ed25519 host key that answers at an address, or None; nothing is trusted by this."""
    command = ["ssh-keyscan", "-T", "5", "-t", "ed25519", address]
    netns = json.loads(_via_file(state).read_text())["netns"]
    if netns:
        command = ["nsenter", f"--net=/run/netns/{netns}", *command]
    elif address != aliases(state).get(NODE):
        command = [*argv(state, NODE, "-T"), *command]
    found = process.run(command, check=False, timeout=30)
    for line in found.stdout.decode(errors="replace").splitlines():
        if line and not line.startswith("#"):
            return line.split(" ", 1)[1].strip()
    return None


def _pins(state: State, alias: str) -> Iterator[str]:
    if state.known_hosts.exists():
        lines = state.known_hosts.read_text().splitlines()
        yield from (line.split(" ", 1)[1] for line in lines if alias in _names(line))


def _wait_for_key(state: State, alias: str, address: str, timeout: float) -> str:
    end = time.monotonic() + timeout
    while True:
        if key := scan(state, address):
            return key
        if time.monotonic() > end:
            raise Unreachable(
                f"no ssh at {address} within {timeout:.0f} s", where=alias, hint="look at the guest's console"
            )
        time.sleep(0.3)


def _host(alias: str, address: str, pinned_as: str, via: Via) -> str:
    lines = [f"Host {alias}", f"  HostName {address}", f"  HostKeyAlias {pinned_as}"]
    if isinstance(via, Lab) or alias != NODE:
        lines.append(f"  {via.proxy()}")
    return "\n".join(lines) + "\n\n"


def _common(state: State) -> str:
    options = {
        "User": "root",
        "IdentityFile": state.key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": state.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "ForwardAgent": "no",
        "ConnectTimeout": 15,
        "ServerAliveInterval": 15,
        "ServerAliveCountMax": 4,
        "ControlMaster": "auto",
        "ControlPath": f"{state.control}/%n",
        "ControlPersist": PERSIST,
        "StreamLocalBindUnlink": "yes",
        "LogLevel": "ERROR",
    }
    return "Host *\n" + "".join(f"  {key} {value}\n" for key, value in options.items())


def _refuse_unquotable(state: State) -> None:
    # Four programs parse this file and agree on no quoting.
    for path in (state.directory, state.control, state.ssh_config):
        if re.search(r"[\s%\"'\\$~]", str(path)):
            raise PreconditionFailed(
                f"{path}: ssh_config cannot hold this path (spaces, quotes, %, $, ~)", hint="set AIHUB_STATE"
            )


def make_control(path: Path) -> None:
    """Makes the directory of control sockets. Raises Conflict for one that others could write to."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Conflict(f"{path} is not a directory of ours with mode 0700", hint="look at it, then remove it")


def _via_file(state: State) -> Path:
    return state.ssh_config.with_name("via.json")


def _parse_key(line: str) -> tuple[str, str]:
    parts = line.split()
    try:
        kind, key = parts[0], parts[1]
        blob = base64.b64decode(key, validate=True)
    except (IndexError, ValueError) as error:
        raise HubError(f"not an ssh public key: {line[:60]!r}") from error
    if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode():
        raise HubError(f"not an ssh public key of type {kind}: {line[:60]!r}")
    return kind, key


def _names(line: str) -> set[str]:
    return set(line.split(" ", 1)[0].split(","))


@contextmanager
def _locked(state: State) -> Iterator[None]:
    with (state.ssh / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _edit_known_hosts(state: State, edit: Callable[[list[str]], list[str]]) -> None:
    state.make()
    with _locked(state):  # guests are pinned from several threads
        old = state.known_hosts.read_text().splitlines() if state.known_hosts.exists() else []
        new = edit(old)
        if new != old:
            statefile.keep(state.known_hosts, "".join(f"{line}\n" for line in new))
