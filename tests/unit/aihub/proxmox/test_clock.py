"""The node's clock against ours."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from aihub.errors import PreconditionFailed
from aihub.proxmox import clock as proxmox_clock


@pytest.mark.parametrize("seconds", [0, 240, -240])
def test_a_few_minutes_are_no_matter(seconds: int) -> None:
    proxmox_clock.check("pve", formatdate(time.time() + seconds, usegmt=True))


@pytest.mark.parametrize(("seconds", "word"), [(3600, "ahead of"), (-3600, "behind"), (400, "ahead of")])
def test_more_is_named_with_the_way_and_the_seconds(seconds: int, word: str) -> None:
    with pytest.raises(PreconditionFailed, match=rf"clock of pve is \d+ s {word} this machine"):
        proxmox_clock.check("pve", formatdate(time.time() + seconds, usegmt=True))


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 1970 00:00:00"])
def test_without_a_date_nothing_is_known(date: str) -> None:
    proxmox_clock.check("pve", date)
