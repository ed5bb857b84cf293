"""Writes who a guest is into its root file system: name, addresses, resolver, keys, as PVE and cloud-init do."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .process import run
from .root import Root

_KEYS = ("rsa", "ecdsa", "ed25519")
_BEGIN = "# --- BEGIN PVE ---"
_END = "# --- END PVE ---"


def set_machine_id(root: Root) -> None:
    """Gives the guest a machine id of its own, once."""
    if not root.read("etc/machine-id").strip():
        root.write("etc/machine-id", uuid.uuid4().hex + "\n", 0o444)


def set_hostname(root: Root, name: str, address: str, domain: str) -> None:
    """Writes /etc/hostname and the guest's own lines in /etc/hosts."""
    short, _, own_domain = name.partition(".")
    root.write("etc/hostname", short + "\n")
    domain = own_domain or domain
    names = f"{short}.{domain} {short}" if domain else short
    present = root.read("etc/hosts")
    lines = [f"{address or '127.0.1.1'} {names}"]
    if "localhost" not in present:
        present = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + present
    root.write("etc/hosts", _block(present, lines))


def _block(old: str, lines: Iterable[str]) -> str:
    """The file with our marked part replaced, other lines kept."""
    kept, inside = [], False
    for line in old.splitlines():
        inside = inside or line == _BEGIN
        if not inside:
            kept.append(line)
        inside = inside and line != _END
    return "\n".join([_BEGIN, *lines, _END, *kept]) + "\n"


def set_resolver(root: Root, nameservers: list[str], search: list[str]) -> None:
    """Writes /etc/resolv.conf."""
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {address}" for address in nameservers]
    root.write("etc/resolv.conf", _block("", lines))


def network_files(cards: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """systemd-networkd's file for each card of a guest."""
    files = {}
    for name, settings in cards.items():
        lines = ["[Match]", f"Name={name}", "", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
        routes: list[str] = []
        dynamic = [family for family, key in (("ipv4", "ip"), ("ipv6", "ip6")) if settings.get(key) == "dhcp"]
        if dynamic:
            lines.append("DHCP=" + ("yes" if len(dynamic) == 2 else dynamic[0]))
        for key in ("ip", "ip6"):
            if "/" in settings.get(key, ""):
                lines.append(f"Address={settings[key]}")
        for key in ("gw", "gw6"):
            if settings.get(key):
                routes += ["", "[Route]", f"Gateway={settings[key]}", "GatewayOnLink=yes"]
        files[f"etc/systemd/network/10-{name}.network"] = "\n".join(lines + routes) + "\n"
    return files


def set_network(root: Root, cards: Mapping[str, Mapping[str, str]]) -> None:
    """Writes the network settings and makes systemd-networkd apply them at boot."""
    for name, text in network_files(cards).items():
        root.write(name, text)
    unit = "systemd-networkd.service"
    root.link(f"etc/systemd/system/multi-user.target.wants/{unit}", f"/usr/lib/systemd/system/{unit}")


def authorise(root: Root, home: str, keys: list[str], owner: int = 0) -> None:
    """Adds keys to a user's authorized_keys; keys that are there already stay."""
    name = f"{home.strip('/')}/.ssh/authorized_keys"
    present = root.read(name).splitlines()
    missing = [key for key in keys if key not in present]
    if not missing:
        return
    root.folder(f"{home.strip('/')}/.ssh", 0o700)
    root.write(name, "\n".join([*present, *missing]) + "\n", 0o600)
    if owner:
        root.give(name, owner)
        root.give(str(Path(name).parent), owner)


def make_host_keys(root: Root, comment: str) -> None:
    """Makes the guest's ssh host keys, unless it has them."""
    with tempfile.TemporaryDirectory() as work:

        def make(kind: str) -> None:
            name = f"etc/ssh/ssh_host_{kind}_key"
            if not root.read(name):
                key = Path(work) / kind
                run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(key)])
                root.write(f"{name}.pub", key.with_suffix(".pub").read_text())
                root.write(name, key.read_text(), 0o600)

        with ThreadPoolExecutor(len(_KEYS)) as pool:
            list(pool.map(make, _KEYS))


def host_key_log(root: Root) -> list[str]:
    """What PVE's create task says about the host keys."""
    lines = []
    for kind in _KEYS:
        if key := root.read(f"etc/ssh/ssh_host_{kind}_key.pub"):
            words = run(["ssh-keygen", "-l", "-f", "-"], stdin=key.encode()).stdout.decode().split()
            lines.append(f"Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...")
            lines.append(f"done: {words[1]} {words[2]}")
    return lines


def public_host_key(root: Root) -> str:
    """The ed25519 host key as known_hosts wants it: type and key."""
    return " ".join(root.read("etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
