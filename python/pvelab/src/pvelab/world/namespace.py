"""The lab's network namespace, and the way into it that lxc works with."""

from __future__ import annotations

from collections.abc import Sequence

from .lab import Lab
from .process import Process, listed, run

# A bare nsenter keeps the host's /sys, where lxc finds no bridge of the lab; `ip netns exec` mounts a new /sys
# and hides the cgroups below it, without which lxc cannot limit anything. Hence a private mount namespace with
# a fresh sysfs and the cgroup tree put back. "slave": what is unmounted outside goes away in here too, so that
# a running lab never pins the namespaces of another one. In here alone the roots lie where a uid map's root can pass
# to them, and setuid programs in them are such.
LAYOUT = 2
"""Raised by hand when what is mounted where changes: a daemon that runs sees what it was started with."""
_ENTER = (
    'set -e; stage=$1; shift; mkdir -p "$stage"; mount --rbind /sys/fs/cgroup "$stage"; '
    'mount -t sysfs -o nosuid,nodev,noexec sysfs /sys; mount --rbind "$stage" /sys/fs/cgroup; umount -l "$stage"; '
    'if [ -d "$1" ]; then mkdir -p "$2"; mount --bind "$1" "$2"; mount -o remount,bind,suid,dev "$2"; fi; shift 2; '
    'exec "$@"'
)


def inside(lab: Lab, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the lab's network namespace, with /sys, cgroups and roots as lxc needs."""
    enter = ["nsenter", f"--net={lab.netns_path}", "unshare", "--mount", "--propagation", "slave"]
    paths = [lab.run / "cgroup", lab.containers, lab.seen]
    return [*enter, "sh", "-c", _ENTER, "pvelab", *map(str, paths), *argv]


def plain(lab: Lab, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the lab's network namespace only."""
    return ["nsenter", f"--net={lab.netns_path}", *argv]


def exists(lab: Lab) -> bool:
    """True when the namespace's name leads to a namespace (a stale file does not)."""
    if not lab.netns_path.exists():
        return False
    return lab.netns_path.stat().st_dev != lab.netns_path.parent.stat().st_dev


def create(lab: Lab) -> None:
    """Makes the namespace with its loopback, forwarding switched on as on a node that routes."""
    if exists(lab):
        return
    lab.netns_path.unlink(missing_ok=True)
    run(["ip", "netns", "add", lab.netns])
    run(plain(lab, ["ip", "link", "set", "lo", "up"]))


def remove(lab: Lab) -> None:
    """Removes the namespace's name; the kernel drops the rest with its last process."""
    if exists(lab):
        run(["ip", "netns", "del", lab.netns])
    lab.netns_path.unlink(missing_ok=True)


def number(lab: Lab) -> int | None:
    """What the kernel calls the namespace; None when its name leads nowhere."""
    return lab.netns_path.stat().st_ino if exists(lab) else None


def processes(lab: Lab) -> list[Process]:
    """Every process that lives in the lab's namespace."""
    wanted = number(lab)
    return [] if wanted is None else listed(lambda path: (path / "ns/net").stat().st_ino == wanted)


def bridge(lab: Lab, name: str, addresses: Sequence[str]) -> None:
    """Makes a bridge without ports that holds exactly these addresses."""
    script = (
        'ip link show "$1" >/dev/null 2>&1 || '
        '{ ip link add "$1" type bridge stp_state 0 forward_delay 0; ip link set "$1" alias pvelab; }; '
        'n=$1; shift; for a; do ip addr replace "$a" dev "$n"; done; ip link set "$n" up'
    )
    run(plain(lab, ["sh", "-ec", script, "sh", name, *addresses]))
