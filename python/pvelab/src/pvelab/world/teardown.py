"""Takes a lab down and leaves nothing of it behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from . import cgroups, daemon, hostlimits, images, monitors, mounts, namespace, node, rootfs, uplink
from .errors import LabError
from .lab import RUNTIME, STATES, Lab
from .process import end, say, wait_for


def down(lab: Lab, purge: bool) -> None:
    """Ends daemon, containers, uplink and namespace; then removes runtime files and, with `purge`, the state."""
    daemon.stop(lab)
    if namespace.exists(lab):
        _containers(lab, gently=not purge)
        uplink.stop(lab)
        # What is left came in from outside, e.g. ssh connections; one may start another while it ends.
        while left := namespace.processes(lab):
            for pid in left:
                end(pid)
        namespace.remove(lab)
        say("namespace", f"{lab.netns} is gone")
    else:
        uplink.stop(lab)
        namespace.remove(lab)
    if strays := monitors.end_all(lab):
        say("containers", f"ended, nobody could stop them: {', '.join(strays)}")
    if not wait_for(lambda: not cgroups.remove(lab.cgroup), 5):
        say("cgroups", f"{lab.cgroup} stays: something runs in it")
    mounts.release(lab.state)
    rootfs.remove(lab.run)
    if purge:
        rootfs.remove(images.home(lab))
        _forget(lab)
        say("state", f"{lab.state} removed")


def _forget(lab: Lab) -> None:
    """Takes the state away from the lab's name first: killed half-way, it is no lab with guests that have no root."""
    gone = STATES / f".{lab.name}.gone"
    rootfs.remove(gone)  # of a run that was killed
    if lab.state.is_dir():
        lab.state.rename(gone)
        rootfs.remove(gone)


def _containers(lab: Lab, *, gently: bool) -> None:
    lxc = node.containers(lab)
    running = sorted(lxc.running())

    def stop(name: str) -> bool:
        return (gently and lxc.stop(name, kill=False, timeout=20)) or lxc.stop(name)

    if not running:
        return
    with ThreadPoolExecutor(len(running)) as pool:
        stopped = list(pool.map(stop, running))
    left = [name for name, gone in zip(running, stopped, strict=True) if not gone]
    if left:
        raise LabError(f"containers do not stop: {', '.join(left)}", hint=f"see {lab.log('server').parent}")
    say("containers", f"stopped: {', '.join(running)}")


def tidy() -> None:
    """After the last lab: puts the host's limits back and removes the labs' common directories."""
    hostlimits.restore_limits()
    if RUNTIME.is_dir() and not any(path.is_dir() for path in RUNTIME.iterdir()):
        RUNTIME.joinpath("limits.lock").unlink(missing_ok=True)
    for folder in (RUNTIME, STATES):
        if folder.is_dir() and not any(folder.iterdir()):
            with suppress(OSError):
                folder.rmdir()
