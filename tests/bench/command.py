"""The `aihub` command, whole, with the Proxmox API at another place than port 8006 of the node: BENCH_API=HOST:PORT.

Writes the most memory that it held, in KiB, to the file BENCH_PEAK: what `wait4` tells of a child includes the parent
that it was forked from.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from aihub import cli
from aihub.owners import run
from aihub.proxmox import client as proxmox


def main() -> None:
    """Runs the command line that was given."""
    host, _, port = os.environ["BENCH_API"].rpartition(":")
    there = proxmox.Proxmox
    run.Proxmox = lambda _host, _port, token, certificate: there(host, int(port), token, certificate)
    try:
        cli.main()
    finally:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        Path(os.environ["BENCH_PEAK"]).write_text(peak[1] if peak else "")


if __name__ == "__main__":
    main()
