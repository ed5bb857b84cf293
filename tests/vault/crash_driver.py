"""Brings a test's vault up in a process of its own, which AIHUB_CRASH_AT may kill. Prints how many writes it made."""

from __future__ import annotations

import sys
from pathlib import Path

from aihub import crashpoint
from aihub.state.directory import State
from aihub.vault.bringup import bring_up
from aihub.vault.client import Vault

from tests.vault.local_vault import Server, small_hub


def main() -> None:
    home, socket = Path(sys.argv[1]), Path(sys.argv[2])
    server = Server(home, State(home / "state"), small_hub())
    vault = Vault(socket, server.name, server.state.ca)
    bring_up(server.hub, server.state, vault, server.outside())
    sys.stdout.write(f"{len(crashpoint.made())}\n")


if __name__ == "__main__":
    main()
