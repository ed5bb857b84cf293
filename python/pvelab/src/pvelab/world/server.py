"""The lab's daemon: serves the emulated API over real guests. Started inside the lab's namespaces by `daemon`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..api import netfile
from ..api.store import Document
from ..backend import BackendError
from . import namespace, node
from .backend import LxcBackend
from .lab import Lab

if TYPE_CHECKING:
    from ..api.pve import Pve

LOG = logging.getLogger("pvelab.world")


def main(argv: list[str]) -> int:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="pvelab.world.server")
    parser.add_argument("name")
    parser.add_argument("--fd", type=int, required=True, help="a bound socket of the host's loopback")
    parser.add_argument("--factor", type=float, required=True)
    parser.add_argument("--resolver", required=True)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    lab = Lab(options.name)
    refuse_elsewhere(lab)
    asyncio.run(_serve(lab, options.fd, LxcBackend(lab, options.factor, options.resolver)))
    return 0


def refuse_elsewhere(lab: Lab) -> None:
    """Ends the program outside of the lab's own network namespace: it makes and removes bridges, on any other's too."""
    if Path("/proc/self/ns/net").stat().st_ino != namespace.number(lab):
        raise SystemExit(
            f"this is not the network namespace of lab {lab.name}: `pvelab up {lab.name}` starts this program"
        )


async def _serve(lab: Lab, descriptor: int, backend: LxcBackend) -> None:
    from ..api import server as api

    password = lab.root_password.read_text().strip()
    described = api.NodeInfo.from_config(dict(lab.config().raw))
    app = api.make_app(lab.api, backend, described, password)
    pve = app[api.PVE_KEY]
    pve.network = NetworkFiles(lab, pve.network)
    boot(lab, pve, backend)
    limit(pve, backend)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, limit, pve, backend)
    # Made on the host before this process entered the namespace: it still belongs to the host's loopback.
    outside = socket.socket(fileno=descriptor)
    inside = api.listen("0.0.0.0", 8006)  # noqa: S104 the namespace is the lab's own
    LOG.info("serving with %d running guests", len(backend.running()))
    await api.serve(app, [outside, inside])


def boot(lab: Lab, pve: Pve, backend: LxcBackend) -> None:
    """After the lab was down: makes the bridges again and starts guests that start at boot, as a node does."""
    try:
        backend.reload_network(pve.interfaces(), lambda line: LOG.info("network: %s", line))
    except BackendError as error:
        LOG.error("network: %s", error)
    marker = lab.run / "booted"
    if marker.exists():
        return
    for conf in sorted(pve.guests.all(), key=lambda conf: conf.vmid):
        if conf.values.get("onboot") == "1" and conf.values.get("template") != "1":
            try:
                backend.start(pve.spec(conf), lambda line: LOG.info("boot: %s", line))
            except BackendError as error:
                LOG.error("boot: guest %d does not start: %s", conf.vmid, error)
    marker.touch()


def limit(pve: Pve, backend: LxcBackend) -> None:
    """Every running guest has the limits that it would start with."""
    running = backend.running()
    for conf in pve.guests.all():
        if conf.vmid in running:
            try:
                backend.limit(pve.spec(conf))
            except BackendError as error:
                LOG.error("limits of guest %d: %s", conf.vmid, error)


class NetworkFiles(Document):
    """The network configuration, written into the node's /etc/network as well, where Proxmox VE keeps it."""

    def __init__(self, lab: Lab, document: Document) -> None:
        super().__init__(document.path, document.data)
        self._root = node.root(lab)
        self._publish()

    def save(self) -> None:
        """Keeps the configuration and writes `interfaces`, and `interfaces.new` while changes wait."""
        super().save()
        self._publish()

    def _publish(self) -> None:
        for name, part in (("interfaces", "active"), ("interfaces.new", "pending")):
            if self.data[part] is None:
                self._root.remove(f"etc/network/{name}")
            else:
                self._root.write(f"etc/network/{name}", netfile.write(self.data[part]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
