"""The `aihub` command, whole, with the Proxmox API at another place than port 8006 of the node: BENCH_API=HOST:PORT."""

from __future__ import annotations

import os

from aihub import cli
from aihub.adapters import proxmox
from aihub.steps import run


def main() -> None:
    """Runs the command line that was given."""
    host, _, port = os.environ["BENCH_API"].rpartition(":")
    there = proxmox.Proxmox
    run.Proxmox = lambda _host, _port, token, certificate: there(host, int(port), token, certificate)
    cli.main()


if __name__ == "__main__":
    main()
