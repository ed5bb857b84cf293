"""The lab's one way out: user-space NAT by slirp4netns, so that the host's network keeps no rule, link or route."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from .errors import LabError
from .lab import Lab
from .namespace import plain
from .process import Process, end, remember, remembered, run, spawn, tail, wait_for

LINK = "uplink0"
# Shared address space (RFC 6598): the least likely to be a hub's own.
_CANDIDATES = ("100.127.254.0/24", "100.97.31.0/24", "198.18.254.0/24", "172.31.254.0/24")


@dataclass(frozen=True)
class Uplink:
    """The addresses of the way out, seen from the lab."""

    network: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """Where the default route leads."""
        return self.network[2]

    @property
    def dns(self) -> IPv4Address:
        """Answers for outside names by asking the host's own resolver."""
        return self.network[3]

    def as_json(self) -> dict[str, str]:
        """For `pvelab status`."""
        return {
            "link": LINK,
            "network": str(self.network),
            "gateway": str(self.gateway),
            "dns": str(self.dns),
            "how": "slirp4netns (user-space NAT)",
        }


def choose(taken: Iterable[IPv4Network]) -> Uplink:
    """The first network for the uplink that overlaps none of the lab's."""
    others = list(taken)
    for text in _CANDIDATES:
        network = IPv4Network(text)
        if not any(network.overlaps(other) for other in others):
            return Uplink(network)
    raise LabError("every network that the uplink could use overlaps a subnet of the hub", hint="move one subnet")


def start(lab: Lab, uplink: Uplink) -> None:
    """Starts slirp4netns for the lab unless it runs, and waits until the link has its address."""
    if remembered(lab.run / "uplink.pid") and _configured(lab):
        return
    stop(lab)
    run(plain(lab, ["ip", "link", "del", LINK]), check=False)
    ready, told = os.pipe()
    # What it reads comes from guests: it lives in a root of its own, without capabilities and with few system calls.
    # In mounts of its own first: it takes away all that it has, and from shared ones that would spread to the machine,
    # whose /run/netns is one; the names of all namespaces went.
    argv = ["unshare", "--mount", "--propagation", "private"]
    argv += ["slirp4netns", "--enable-sandbox", "--enable-seccomp", "--disable-host-loopback"]
    argv += ["--configure", "--mtu=1500", f"--cidr={uplink.network}"]
    argv += [f"--ready-fd={told}", "--netns-type=path", str(lab.netns_path), LINK]
    log = lab.log("uplink")
    try:
        child = spawn(argv, log=log, keep=[told])
        os.close(told)
        answer = os.read(ready, 1)
    finally:
        os.close(ready)
    if answer != b"1" or not wait_for(lambda: _configured(lab), 5):
        end(Process.of(child.pid))
        raise LabError(f"slirp4netns did not bring up {LINK}: {tail(log.read_bytes())}", hint=f"see {log}")
    remember(lab.run / "uplink.pid", child.pid)


def _configured(lab: Lab) -> bool:
    return b"inet " in run(plain(lab, ["ip", "-o", "-4", "addr", "show", "dev", LINK]), check=False).stdout


def stop(lab: Lab) -> None:
    """Ends the lab's slirp4netns."""
    end(remembered(lab.run / "uplink.pid"))
    (lab.run / "uplink.pid").unlink(missing_ok=True)
