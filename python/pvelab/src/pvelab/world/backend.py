"""Real guests for the emulated API: implements `pvelab.backend.Backend` with system containers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

from ..backend import BackendError, Card, ExecResult, GuestSpec, Interface, Log, RunState
from . import accounts, bridges, cards, cgroups, cloudinit, identity, measures, node, properties, rootfs
from .errors import LabError
from .lab import Lab
from .lxc import HANDED_OUT, Lxc, Machine
from .process import run, start_time, wait_for
from .root import Root
from .rootfs import OFFSET

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TICKS = os.sysconf("SC_CLK_TCK")


def _translated(function: _Function) -> _Function:
    """Turns what the lab's world says into the seam's own error."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except LabError as error:
            raise BackendError(error.what) from error
        except OSError as error:
            raise BackendError(f"{error.strerror}: {error.filename}") from error

    return wrapper  # type: ignore[return-value]


class LxcBackend:
    """The guests of one lab; what is promised of each method says `Backend`. Runs inside the lab's namespaces."""

    name = "lxc"

    def __init__(self, lab: Lab, factor: float, resolver: str) -> None:
        self.lab = lab
        self.factor = factor
        self.resolver = resolver
        self.lxc = Lxc(lab)
        self._cpu: dict[int, tuple[float, float]] = {}

    # -- root file systems

    @_translated
    def create(self, guest: GuestSpec, archive: Path | None, log: Log) -> None:
        target = self._path(guest)
        if target.parent.exists():
            # No guest has this VMID, so this is what a creation left behind whose daemon was killed.
            if self.lxc.pid(str(guest.vmid)) is not None:
                raise BackendError(f"a container {guest.vmid} runs that no guest of the API owns")
            log(f"removing what an interrupted creation left in {target.parent}")
            rootfs.remove(target.parent)
        try:
            self._fill(guest, archive, target, log)
        except BaseException:
            rootfs.remove(target.parent)
            raise

    def _fill(self, guest: GuestSpec, archive: Path | None, target: Path, log: Log) -> None:
        if archive is None:
            # A VM with an empty disk is possible in PVE; it just has nothing to boot.
            target.mkdir(parents=True)
            os.chown(target, OFFSET, OFFSET)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.parent.chmod(0o711)
        rootfs.unpack(archive, target, shifted=True)
        root = self._root(guest)
        identity.set_machine_id(root)
        name = properties.hostname(guest.kind, guest.vmid, guest.config)
        identity.make_host_keys(root, f"root@{name.partition('.')[0]}")
        self._settle(guest)
        identity.authorise(root, "root", properties.public_keys("lxc", guest.config))
        if guest.config.get("password"):
            accounts.set_password(root, "root", guest.config["password"])

    @_translated
    def destroy(self, guest: GuestSpec, log: Log) -> None:
        if self.lxc.pid(str(guest.vmid)):
            self.lxc.stop(str(guest.vmid))
        rootfs.remove(self.lab.snapshots / str(guest.vmid))
        rootfs.remove(self.lab.containers / str(guest.vmid))
        log(f"root file system of {guest.vmid} removed")

    @_translated
    def clone(self, source: GuestSpec, target: GuestSpec, log: Log) -> None:
        log(f"copying the root file system of {source.vmid}")
        folder = self._path(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        rootfs.copy(self._path(source), self._path(target))
        root = self._root(target)
        root.write("etc/machine-id", "")
        identity.set_machine_id(root)
        self._settle(target)

    @_translated
    def resize(self, guest: GuestSpec, disk: str, size: int, log: Log) -> None:
        """Grows one disk to `size` bytes: a lab disk is a directory without a limit, only the figure changes."""
        log(f"{disk} of {guest.vmid} is now {size} bytes (a lab guest's disk is a directory: nothing to grow)")

    @_translated
    def snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        target = self._snapshot(guest, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._frozen(guest):
            rootfs.copy(self._path(guest), target)
        log(f"snapshot '{name}' holds a copy of the root file system")

    @_translated
    def rollback(self, guest: GuestSpec, name: str, log: Log) -> None:
        kept, current = self._snapshot(guest, name), self._path(guest)
        if not kept.is_dir():
            raise BackendError(f"snapshot '{name}' does not exist")
        fresh, old = current.with_name("rootfs.new"), current.with_name("rootfs.old")
        rootfs.remove(fresh)
        rootfs.copy(kept, fresh)
        current.rename(old)
        fresh.rename(current)
        rootfs.remove(old)
        log(f"root file system is back at '{name}'")

    @_translated
    def delete_snapshot(self, guest: GuestSpec, name: str, log: Log) -> None:
        rootfs.remove(self._snapshot(guest, name))
        log(f"snapshot '{name}' removed")

    @_translated
    def export(self, guest: GuestSpec, archive: Path, log: Log) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        log(f"creating archive '{archive}'")
        rootfs.pack_guest(self._path(guest), archive)

    # -- running

    @_translated
    def start(self, guest: GuestSpec, log: Log) -> None:
        init = self._path(guest) / "sbin/init"
        if not init.is_symlink() and not init.exists():
            raise BackendError(f"guest {guest.vmid} has no root file system that could boot")
        self._settle(guest)
        for link in properties.links(guest.kind, guest.vmid, guest.config):
            if not Path("/sys/class/net", link.bridge, "bridge").is_dir():
                raise BackendError(f"bridge '{link.bridge}' does not exist")
        if guest.kind == "qemu":
            cards.give(self.lab, guest.vmid, guest.cards)
            mounts = cards.mounts(self.lab, guest.vmid)
        else:
            mounts = self._devices(guest, log)
        self.lxc.write(self._machine(guest, mounts))
        pid = self.lxc.start(str(guest.vmid))
        log(f"container {guest.vmid} runs, init has pid {pid}")

    def _devices(self, guest: GuestSpec, log: Log) -> list[str]:
        """The device nodes of a container: those of the node's own driver once that has made them, and a few others."""
        paths = properties.devices(guest.config)
        nvidia = [path for path in paths if path.startswith("/dev/nvidia")]
        for path in nvidia:
            if not wait_for(partial(self._node_has, path), 20, 0.5):  # a unit of the node's may be about to make it
                raise BackendError(f"Device {path} does not exist")
        for path in sorted({*paths} - {*nvidia} - HANDED_OUT):
            log(f"{path}: guests of a lab get no such device")
        plain = [f"{path} {path[1:]} none bind,create=file 0 0" for path in paths if path in HANDED_OUT]
        return [*plain, *cards.share(self.lab, guest.vmid, guest.cards, nvidia)]

    def _node_has(self, path: str) -> bool:
        return self.lxc.execute(node.NAME, ["test", "-c", path]).returncode == 0

    @_translated
    def stop(self, guest: GuestSpec, log: Log) -> None:
        if not self.lxc.stop(str(guest.vmid)):
            raise BackendError(f"guest {guest.vmid} does not stop")
        log(f"container {guest.vmid} stopped")

    @_translated
    def shutdown(self, guest: GuestSpec, timeout: float, log: Log) -> bool:
        done = self.lxc.stop(str(guest.vmid), kill=False, timeout=timeout)
        log(f"container {guest.vmid} {'is down' if done else 'still runs'}")
        return done

    @_translated
    def running(self) -> dict[int, RunState]:
        found = {int(name): pid for name, pid in self.lxc.running().items() if name.isdigit()}
        return {vmid: self._state(vmid, pid) for vmid, pid in sorted(found.items())}

    def _state(self, vmid: int, pid: int) -> RunState:
        now = time.monotonic()
        began = int(start_time(pid) or 0) / _TICKS
        uptime = max(0.0, float(Path("/proc/uptime").read_text().split()[0]) - began)
        memory, used = cgroups.usage(pid, self.lxc.version)
        before, at = self._cpu.get(vmid, (used, now))
        self._cpu[vmid] = (used, now)
        share = max(0.0, (used - before) / (now - at)) if now > at else 0.0
        received, sent = measures.traffic(pid)
        return RunState(pid=pid, since=time.time() - uptime, cpu=share, memory=memory, netin=received, netout=sent)

    @_translated
    def apply(self, guest: GuestSpec, changed: set[str]) -> set[str]:
        name, waiting = str(guest.vmid), set(changed)
        if guest.kind == "lxc":
            if changed & {"memory", "swap", "cores", "cpulimit"}:
                self.limit(guest)
                waiting -= {"memory", "swap", "cores", "cpulimit"}
            if changed & {"nameserver", "searchdomain", "hostname"}:
                self._settle(guest)
                waiting -= {"nameserver", "searchdomain"}
            if "hostname" in changed:
                self.lxc.execute(name, ["hostname", properties.hostname("lxc", guest.vmid, guest.config)])
                waiting -= {"hostname"}
        for key in [key for key in changed if key.startswith(("net", "ipconfig")) and key[-1].isdigit()]:
            if self._rewire(guest, key):
                waiting.discard(key)
        return waiting - _WITHOUT_EFFECT

    @_translated
    def limit(self, guest: GuestSpec) -> None:
        """A running guest gets the limits that it would start with."""
        self.lxc.limit(str(guest.vmid), self._limits(guest).settings(self.lxc.version))

    def _rewire(self, guest: GuestSpec, key: str) -> bool:
        """Moves a card to another bridge and gives it new addresses; a new MAC or card waits for a restart."""
        value = guest.config.get(key, "")
        if not key.startswith("net") or not value:
            return False
        link = properties.link(guest.kind, guest.vmid, int(key[3:]), value)
        if not Path("/sys/class/net", link.peer).exists():
            return False
        pid = self.lxc.pid(str(guest.vmid))
        held = run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "link", "show", link.name], check=False)
        cards = json.loads(held.stdout or b"[]")
        if not cards or (link.mac and cards[0].get("address", "").lower() != link.mac.lower()):
            return False
        if not Path("/sys/class/net", link.bridge, "bridge").is_dir():
            raise BackendError(f"bridge '{link.bridge}' does not exist")
        run(["ip", "link", "set", link.peer, "master", link.bridge])
        if guest.kind == "lxc":
            self._settle(guest)
            self.lxc.execute(str(guest.vmid), ["networkctl", "reload"])
        return True

    @_translated
    def execute(self, guest: GuestSpec, argv: list[str], stdin: bytes, timeout: float) -> ExecResult:
        result = self.lxc.execute(str(guest.vmid), argv, stdin, timeout)
        return ExecResult(result.returncode, result.stdout, result.stderr)

    @_translated
    def addresses(self, guest: GuestSpec) -> list[dict[str, object]]:
        pid = self.lxc.pid(str(guest.vmid))
        if pid is None:
            raise BackendError(f"guest {guest.vmid} is not running")
        answer = run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-j", "-s", "addr"])
        return [measures.agent_interface(item) for item in json.loads(answer.stdout)]

    @_translated
    def host_keys(self, guest: GuestSpec) -> list[str]:
        """The create log's lines about the guest's ssh host keys."""
        return identity.host_key_log(self._root(guest))

    @_translated
    def reload_network(self, interfaces: list[Interface], log: Log) -> None:
        bridges.reload(interfaces, log)

    @_translated
    def plug(self, cards_there: Sequence[Card]) -> None:
        for vmid in self.running():
            cards.lose(self.lab, vmid, cards_there)

    @_translated
    def hook(self, script: str, vmid: int, phase: str, log: Log) -> int:
        result = self.lxc.execute(node.NAME, [script, str(vmid), phase])
        for line in (result.stdout + result.stderr).decode(errors="replace").splitlines():
            log(line)
        return result.returncode

    # -- how a guest's config becomes a container

    def _machine(self, guest: GuestSpec, mounts: Sequence[str]) -> Machine:
        config = guest.config
        return Machine(
            name=str(guest.vmid),
            rootfs=self.lab.seen_rootfs(str(guest.vmid)),
            hostname=properties.hostname(guest.kind, guest.vmid, config).partition(".")[0],
            unprivileged=True,
            nesting=guest.kind == "qemu" or properties.split(config.get("features", "")).get("nesting") == "1",
            links=properties.links(guest.kind, guest.vmid, config),
            limits=self._limits(guest),
            mounts=mounts,
        )

    def _limits(self, guest: GuestSpec) -> cgroups.Limits:
        # Asked anew each time: what a guest needs changes with what its owner wants to run on it.
        least = self.lab.config().least.get(guest.vmid, 0)
        return properties.limits(guest.kind, guest.config, self.factor, least)

    def _settle(self, guest: GuestSpec) -> None:
        """Writes what PVE (LXC) or the cloud-init drive (VM) sets at every start."""
        root, config = self._root(guest), guest.config
        if not root.path.joinpath("etc").is_dir():
            return
        cards = properties.addresses(guest.kind, config)
        first = next((card["ip"].partition("/")[0] for card in cards.values() if "/" in card.get("ip", "")), "")
        domain = config.get("searchdomain", "").replace(",", " ").split()
        name = properties.hostname(guest.kind, guest.vmid, config)
        identity.set_hostname(root, name, first, domain[0] if domain else "")
        servers = config.get("nameserver", "").replace(",", " ").split() or [self.resolver]
        identity.set_resolver(root, servers, domain)
        identity.set_network(root, cards)
        if guest.kind == "qemu":
            cloudinit.apply(root, guest.vmid, config)

    def _path(self, guest: GuestSpec) -> Path:
        return self.lab.rootfs(str(guest.vmid))

    def _root(self, guest: GuestSpec) -> Root:
        return Root(self._path(guest), OFFSET)

    def _snapshot(self, guest: GuestSpec, name: str) -> Path:
        return self.lab.snapshots / str(guest.vmid) / name

    @contextmanager
    def _frozen(self, guest: GuestSpec) -> Iterator[None]:
        """Stops a running guest's processes for a moment, so that a copy is of one instant."""
        name = str(guest.vmid)
        if self.lxc.pid(name) is None:
            yield
            return
        run(["lxc-freeze", "-P", str(self.lab.seen), "-n", name], timeout=30)
        try:
            yield
        finally:
            run(["lxc-unfreeze", "-P", str(self.lab.seen), "-n", name], timeout=30)


# Options that change nothing in a running guest, in PVE as here.
_WITHOUT_EFFECT = frozenset(
    {"description", "tags", "onboot", "startup", "protection", "hookscript", "lock", "boot", "meta", "agent"}
    | {"ciuser", "cipassword", "sshkeys", "name"}
)
