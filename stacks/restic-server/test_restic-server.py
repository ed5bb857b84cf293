"""The keeper tidies up and reads what it keeps, and found nothing wrong."""

from __future__ import annotations

from typing import Any

STATE = "/var/lib/hub/restic-server/data/state"


def test_nothing_was_wrong_when_it_last_tidied_up(host: Any) -> None:
    """what was removed and read of each repository last ended well"""
    found = host.check_output(f"cat {STATE}/*.removal {STATE}/*.reading 2>/dev/null || true")
    wrong = [line for line in found.splitlines() if not line.split(" ", 2)[2].startswith("done")]
    assert not wrong, "\n".join(wrong)
