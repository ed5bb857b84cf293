"""Runs system containers with Debian's lxc tools, inside the lab's namespaces."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import cgroups
from .errors import LabError
from .lab import Lab
from .process import Result, run, start_time, tail

_ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
# What a machine may touch: no disks of the host. Nested container engines hand on a part of this list.
_DEVICES = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
    "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm", "c 10:229 rwm",
)  # fmt: skip
HANDED_OUT = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
)
"""What of it a container gets that asks for it by name."""
# What no machine of a lab needs: the clock, modules, ports and memory of the hardware, the kernel's log, its wake-ups,
# audit and accounting, policies of security modules. Container engines hand on the rest to what they run.
_DROPPED = (
    "lxc.cap.drop = sys_time sys_module sys_rawio syslog wake_alarm block_suspend audit_control audit_read sys_pacct "
    "mac_admin mac_override"
)


@dataclass(frozen=True)
class Link:
    """One network card of a container: a veth pair whose other end is a port of `bridge`."""

    name: str
    bridge: str
    peer: str
    mac: str = ""


@dataclass(frozen=True)
class Machine:
    """A container as lxc shall run it. `links` None: it shares the lab's own network namespace."""

    name: str
    rootfs: Path
    hostname: str
    unprivileged: bool = False
    nesting: bool = True
    links: Sequence[Link] | None = ()
    limits: cgroups.Limits | None = None
    mounts: Sequence[str] = field(default_factory=tuple)  # entries of lxc's configuration


def config(machine: Machine, version: cgroups.Version, group: str) -> str:
    """The text of the container's lxc config; its cgroups lie below `group`."""
    lines = ["lxc.include = /usr/share/lxc/config/common.conf", f"lxc.cgroup.dir = {group}"]
    lines += _ids(machine) + _devices(version)
    lines += [
        "lxc.apparmor.profile = unconfined",
        f"lxc.rootfs.path = dir:{machine.rootfs}",
        f"lxc.uts.name = {machine.hostname}",
        f"lxc.init.cmd = {' '.join(['/sbin/init', *cgroups.init_arguments(version)])}",
        "lxc.mount.entry = /dev/net/tun dev/net/tun none bind,optional,create=file 0 0",
        "lxc.signal.halt = SIGRTMIN+3",
    ]
    lines += [f"lxc.mount.entry = {entry}" for entry in machine.mounts]
    lines += _network(machine.links)
    if machine.limits:
        key = cgroups.prefix(version)
        lines += [f"{key}.{name} = {value}" for name, value in machine.limits.settings(version).items()]
    return "\n".join(lines) + "\n"


def _ids(machine: Machine) -> list[str]:
    if machine.unprivileged:
        nesting = ["lxc.include = /usr/share/lxc/config/nesting.conf"] if machine.nesting else []
        maps = ["lxc.idmap = u 0 100000 65536", "lxc.idmap = g 0 100000 65536"]
        # In a user namespace the kernel itself refuses what is not the guest's: global sysctls, the clock.
        return [*nesting, "lxc.include = /usr/share/lxc/config/userns.conf", *maps, _DROPPED, _auto("rw", "mixed")]
    # "mixed": of /proc/sys only the network part is writable, the rest belongs to the host. Without nesting.conf,
    # whose second, writable /proc undoes that; engines inside need it under a uid map only.
    return ["lxc.cap.drop =", _DROPPED, _auto("mixed", "mixed")]


def _auto(proc: str, sys: str) -> str:
    # A writable /sys makes systemd-networkd wait for a udevd that no container has.
    return f"lxc.mount.auto =\nlxc.mount.auto = proc:{proc} sys:{sys} cgroup:rw:force"


def _devices(version: cgroups.Version) -> list[str]:
    key = f"{cgroups.prefix(version)}.devices"
    return [f"{key}.deny = a", *(f"{key}.allow = {rule}" for rule in _DEVICES)]


def _network(links: Sequence[Link] | None) -> list[str]:
    if links is None:
        return ["lxc.net.0.type = none"]
    if not links:
        return ["lxc.net.0.type = empty"]
    lines = []
    for number, link in enumerate(links):
        key = f"lxc.net.{number}"
        lines += [f"{key}.type = veth", f"{key}.link = {link.bridge}", f"{key}.name = {link.name}"]
        lines += [f"{key}.veth.pair = {link.peer}", f"{key}.flags = up"]
        if link.mac:
            lines.append(f"{key}.hwaddr = {link.mac}")
    return lines


class Lxc:
    """The containers of a lab. `enter` leads a command line into the lab for a caller outside of it."""

    def __init__(self, lab: Lab, enter: Callable[[Sequence[str]], list[str]] = list) -> None:
        self.enter = enter
        self.directory = lab.containers
        self.seen = lab.seen
        self.group = lab.cgroup
        self.logs = lab.log("x").parent
        self.version = cgroups.detect()
        self._known: dict[str, tuple[int, str]] = {}

    def write(self, machine: Machine) -> None:
        """Writes the container's config, read by lxc at its next start."""
        folder = self.directory / machine.name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        (folder / "config").write_text(config(machine, self.version, self.group))

    def start(self, name: str) -> int:
        """Starts a container and returns the pid of its init."""
        log = self.logs / f"lxc-{name}.log"
        log.unlink(missing_ok=True)
        # Its monitor outlives us: nothing of our environment is left in it.
        argv = ["env", "-i", *_ENVIRONMENT]
        argv += ["lxc-start", "-P", str(self.seen), "-n", name, "-d", "-o", str(log), "-l", "WARN"]
        result = run(self.enter(argv), check=False, timeout=60)
        pid = self.pid(name)
        if result.returncode != 0 or pid is None:
            said = log.read_bytes() if log.exists() else result.stderr
            raise LabError(f"container {name} did not start: {tail(said, 6)}", hint=f"see {log}")
        return pid

    def stop(self, name: str, *, kill: bool = True, timeout: float = 30) -> bool:
        """Stops a container; without `kill` it is asked, and False says that it still runs."""
        how = ["-k"] if kill else ["--nokill", "-t", str(max(1, int(timeout)))]
        argv = ["lxc-stop", "-P", str(self.seen), "-n", name, *how]
        run(self.enter(argv), check=False, timeout=timeout + 30)
        return self.pid(name) is None

    def running(self) -> dict[str, int]:
        """Containers that run now, with the pid of their init."""
        # Each running container's monitor listens on an abstract socket named by its directory.
        table = run(self.enter(["cat", "/proc/net/unix"])).stdout.decode()
        listening = re.findall(rf"@{re.escape(str(self.seen))}/([^/\s]+)/command$", table, re.M)
        return {name: pid for name in set(listening) if (pid := self.pid(name)) is not None}

    def pid(self, name: str) -> int | None:
        """The pid of a running container's init."""
        known = self._known.get(name)
        if known and start_time(known[0]) == known[1]:
            return known[0]
        self._known.pop(name, None)
        argv = ["lxc-info", "-P", str(self.seen), "-n", name, "-p", "-H"]
        answer = run(self.enter(argv), check=False, timeout=30).stdout.strip()
        if not answer.isdigit() or not (began := start_time(int(answer))):
            return None
        self._known[name] = (int(answer), began)
        return int(answer)

    def attach(self, name: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in a running container, with nothing of our environment."""
        settings = [part for value in _ENVIRONMENT for part in ("-v", value)]
        attach = ["lxc-attach", "-P", str(self.seen), "-n", name, "--clear-env", *settings, "--", *argv]
        return self.enter(attach)

    def execute(self, name: str, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60) -> Result:
        """Runs a command in a running container; exit code 124 when the time is up."""
        try:
            return subprocess.run(
                self.attach(name, argv), input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            return Result(error.cmd, 124, error.stdout or b"", error.stderr or b"")

    def limit(self, name: str, settings: Mapping[str, str]) -> None:
        """Changes the limits of a running container."""
        for key, value in settings.items():
            argv = ["lxc-cgroup", "-P", str(self.seen), "-n", name, key, value]
            run(self.enter(argv), timeout=30)
