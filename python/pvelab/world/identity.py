"""Writes who a guest is into its root file system: name, addresses, resolver, keys, as PVE and cloud-init do."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import LabError
from .process import run
from .rootfs import IDMAP

_KEYS = ("rsa", "ecdsa", "ed25519")
_BEGIN = "# --- BEGIN PVE ---"
_END = "# --- END PVE ---"


class Root:
    """A guest's root file system; `offset` is what its uid map adds to owners."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Writes a file owned by the guest's root. Replaces links instead of following them out of the root."""
        target = self._safe(name)
        self.folder(str(Path(name).parent), 0o755)
        part = target.with_name(target.name + ".lab")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(handle, mode)
            os.fchown(handle, self.offset, self.offset)
        part.replace(target)

    def folder(self, name: str, mode: int) -> None:
        """Makes a directory of the guest's root, and those above it, if it is missing."""
        target = self._safe(name)
        missing = [path for path in (target, *target.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            path.chmod(mode if path == target else 0o755)
            os.chown(path, self.offset, self.offset)

    def read(self, name: str) -> str:
        """A file's text, empty if there is none."""
        try:
            return self._safe(name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> None:
        """Runs a program of the root file system in it, as the guest's own root."""
        within = ["lxc-usernsexec", *IDMAP, "--"] if self.offset else []
        run([*within, "chroot", str(self.path), *argv], stdin=stdin)

    def _safe(self, name: str) -> Path:
        # A guest may turn any of its directories into a link that leads out of it: the real parent decides.
        target = self.path / name.lstrip("/")
        parent = Path(os.path.realpath(target.parent))
        if parent != self.path.resolve() and self.path.resolve() not in parent.parents:
            raise LabError(f"{name} leads out of the guest's root file system")
        return parent / target.name


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
    wants = root.path / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    if not wants.is_symlink():
        root.folder("etc/systemd/system/multi-user.target.wants", 0o755)
        wants.symlink_to("/usr/lib/systemd/system/systemd-networkd.service")


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
        for path in (root.path / name, (root.path / name).parent):
            os.chown(path, owner + root.offset, owner + root.offset)


def make_host_keys(root: Root, comment: str) -> None:
    """Makes the guest's ssh host keys, unless it has them."""
    root.folder("etc/ssh", 0o755)

    def make(kind: str) -> None:
        file = root.path / f"etc/ssh/ssh_host_{kind}_key"
        if file.exists():
            return
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(file)])
        for made in (file, file.with_name(file.name + ".pub")):
            os.chown(made, root.offset, root.offset)

    with ThreadPoolExecutor(len(_KEYS)) as pool:
        list(pool.map(make, _KEYS))


def host_key_log(root: Root) -> list[str]:
    """What PVE's create task says about the host keys."""
    lines = []
    for kind in _KEYS:
        file = root.path / f"etc/ssh/ssh_host_{kind}_key.pub"
        if not file.exists():
            continue
        words = run(["ssh-keygen", "-l", "-f", str(file)]).stdout.decode().split()
        lines.append(f"Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...")
        lines.append(f"done: {words[1]} {words[2]}")
    return lines


def public_host_key(root: Root) -> str:
    """The ed25519 host key as known_hosts wants it: type and key."""
    return " ".join(root.read("etc/ssh/ssh_host_ed25519_key.pub").split()[:2])


def set_password(root: Root, user: str, password: str) -> None:
    """Sets a password, given in clear or as a hash; it goes through stdin only."""
    hashed = ["-e"] if password.startswith("$") else []
    root.run(["chpasswd", *hashed], stdin=f"{user}:{password}\n".encode())
