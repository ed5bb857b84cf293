"""A guest that can't be copied any more is made anew from the copies that there are."""

from __future__ import annotations

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_7_backups import DATA, TREE, kept, written

__all__ = ["kept", "written"]
pytestmark = pytest.mark.lab


def test_a_silent_guest_is_made_anew_from_its_last_copies(hub: Cli, written: str) -> None:
    hub.on(
        "app", f"echo lost > {DATA}/a; systemctl stop ssh.socket ssh.service 2>/dev/null; systemctl stop ssh || true"
    )
    refused = hub("rebuild", "app")
    assert refused.returncode == 4
    assert "--no-backup" in refused.stderr
    hub.ok("rebuild", "app", "--no-backup")
    assert hub.on("app", TREE) == written
    hub.settles()
