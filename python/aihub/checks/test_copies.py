"""Copies: who keeps something makes them, and the last ones ended well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from aihub.backup import listing, parts
from aihub.model.resolved import Guest, Hub, Instance
from aihub.model.stack import COPIES
from aihub.render import copying

from .context import Context

PROGRAM, RESULTS = "/usr/local/bin/hub-backup", "/var/lib/hub-backup"


def that_copies(hub: Hub) -> Iterator[Guest]:
    """The guests that make copies."""
    return (hub.guests[name] for name in hub.copiers)


def that_keeps(hub: Hub) -> Iterator[Instance]:
    """The instances that keep the copies of others."""
    return (hub.instance(name) for name in dict.fromkeys(one.providers[COPIES] for one in hub.copiers.values()))


@pytest.mark.among(who=that_copies)
def test_reaches(host: Any, guest: Guest, hub: Hub) -> None:
    """it reaches its own repository, with its certificate and its key, every night anew"""
    assert host.service("hub-backup.timer").is_running
    assert host.service("hub-backup.timer").is_enabled
    found = host.run("%s look", PROGRAM)
    where = copying.repository(hub, hub.copiers[guest.name])
    assert found.rc == 0, f"{where}: {found.stderr.strip()}"


@pytest.mark.among(who=that_copies)
def test_ended(host: Any) -> None:
    """its last copies ended well"""
    lines = host.check_output("cd %s 2>/dev/null && cat ./*.json 2>/dev/null || true", RESULTS)
    decoder, errors, rest = json.JSONDecoder(), list[str](), lines.strip()
    while rest:
        told, end = decoder.raw_decode(rest)
        errors += told["errors"]
        rest = rest[end:].strip()
    assert not errors, "\n".join(errors)


@pytest.mark.among(who=that_keeps)
def test_kept(context: Context, instance: Instance, hub: Hub) -> None:
    """of what was copied once, every newest copy is of last night, and its repository was found whole"""
    wanted = [part for part in parts.parts(hub) if hub.copiers[part.guest].providers[COPIES] == instance.name]
    found = [one for one in listing.look(hub, context.state, wanted) if one.copies or one.error]
    now = datetime.now(UTC)
    wrong = [f"{one.part.name}: {one.error or one.wrong}" for one in found if one.error or one.wrong]
    late = [f"{one.part.name}: the newest is of {one.newest.at}" for one in found if one.newest and one.late(now)]
    assert not (wrong or late), "\n".join((*wrong, *late))
