"""Whose data is copied where, and which copy is chosen: from the hub file and what the keeper lists."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aihub import paths, ssh
from aihub.backup import listing, parts, restoring
from aihub.backup.listing import Copies, Copy
from aihub.errors import InvalidInput, PreconditionFailed, TaskFailed
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.render import copying
from aihub.verbs import restore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


def names(found: tuple[parts.Part, ...]) -> set[str]:
    return {one.name for one in found}


def test_what_an_instance_keeps_is_its_volumes_and_what_it_has_at_providers(hub: Hub) -> None:
    assert names(parts.chosen(hub, ["open-webui@private-ai"])) == {
        "open-webui@private-ai: files",
        "open-webui@private-ai: postgres at postgres@private-data",
    }
    assert names(parts.chosen(hub, ["cache"])) == {
        "canary@monitoring: redis at redis@cache",
        "canary@public-ai: redis at redis@cache",
    }
    assert names(parts.chosen(hub, ["vault@security"])) == {"vault@security: snapshot"}
    assert not [one for one in parts.parts(hub) if one.guest == "backup"], "who keeps the copies copies none of them"


def test_who_keeps_nothing_or_is_nobody_is_refused_before_anything_is_asked(hub: Hub) -> None:
    with pytest.raises(InvalidInput, match="no guest or instance nobody"):
        parts.chosen(hub, ["nobody"])
    with pytest.raises(PreconditionFailed, match="nothing of ollama@private-ai is copied"):
        parts.chosen(hub, ["ollama@private-ai"])
    with pytest.raises(PreconditionFailed, match="no copies are made here"):
        parts.chosen(replace(hub, copiers={}), [])


def test_each_guest_has_a_repository_and_a_name_of_its_own_and_only_the_keeper_reads_its_key(hub: Hub) -> None:
    places = {copying.repository(hub, one) for one in hub.copiers.values()}
    assert len(places) == len(hub.copiers) == 6
    readers = [ref.instance for ref in (*hub.secrets, *hub.handed) if ref.path == "hub/db/backup/password"]
    assert readers == ["backup@db", "restic-server@backup"]


def snapshot(**changes: Any) -> dict[str, Any]:
    made = {
        "id": "a" * 64,
        "time": "2026-11-29T03:00:00.123456789Z",
        "hostname": "private-ai",
        "tags": ["chroma@private-ai", "files"],
        "tree": "b" * 64,
        "summary": {"total_bytes_processed": 10, "total_files_processed": 2, "data_added": 3},
    }
    return {**made, **changes}


def listed(monkeypatch: pytest.MonkeyPatch, hub: Hub, *snapshots: dict[str, Any], **said: str) -> Copies:
    answer = {"snapshots": list(snapshots), "removal": "", "reading": "", **said}

    class Done:
        stdout = json.dumps(answer).encode()

    monkeypatch.setattr(ssh, "run", lambda *_, **__: Done)
    (found,) = listing.look(hub, None, parts.chosen(hub, ["chroma@private-ai"]))  # type: ignore[arg-type]
    return found


def test_of_what_is_listed_counts_what_has_the_tags_of_the_part(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    others = (
        snapshot(id="c" * 64, tags=["chroma@public-ai", "files"]),
        snapshot(id="d" * 64, tags=[]),
        snapshot(id="f" * 64, tags=["chroma@private-ai", "files", "aside"], time="2026-11-29T05:00:00Z"),
    )
    others[1].pop("tags")
    found = listed(monkeypatch, hub, *others, snapshot(hostname="where it stood before"))
    assert [one.id[0] for one in found.copies] == ["f", "a"]
    assert found.newest == Copy("a" * 64, datetime(2026, 11, 29, 3, 0, 0, 123456, UTC), 10, 2, aside=False)


NAMELESS = {key: value for key, value in snapshot().items() if key != "id"}


@pytest.mark.parametrize("wrong", [snapshot(id="../x"), snapshot(tags="all"), snapshot(summary=[1]), NAMELESS])
def test_what_is_no_list_of_snapshots_is_an_error_of_its_parts(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    found = listed(monkeypatch, hub, wrong)
    assert found.error
    with pytest.raises(TaskFailed):
        restoring.choose([found], None)


def test_a_time_that_is_none_is_the_beginning_of_all(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = listed(monkeypatch, hub, snapshot(time="soon"))
    assert found.newest
    assert found.newest.at.year == 1970
    assert found.late(NOW)


def test_a_copy_is_late_after_a_night_without_one_and_wrong_when_its_repository_is(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = listed(monkeypatch, hub, snapshot(), removal="2026-11-29T04:00:00Z removal done")
    assert not found.late(NOW)
    assert found.late(NOW + timedelta(hours=18))
    assert not found.wrong
    assert "failed" in listed(monkeypatch, hub, snapshot(), reading="2026-11-29T04:00:00Z reading failed: x").wrong


def test_the_newest_at_a_time_is_chosen_and_none_is_refused(hub: Hub) -> None:
    (part,) = parts.chosen(hub, ["chroma@private-ai"])
    copies = [Copy(str(n), NOW - timedelta(days=n), 1, 1, aside=n == 0) for n in range(4)]
    found = Copies(part, tuple(copies))
    assert found.at(None) is copies[1]
    assert found.at(NOW - timedelta(days=1, hours=1)) is copies[2]
    with pytest.raises(PreconditionFailed, match="there is no copy from before 2026-11-2"):
        found.at(NOW - timedelta(days=9))


def test_the_store_is_not_put_back_by_this(hub: Hub) -> None:
    (part,) = parts.chosen(hub, ["vault@security"])
    with pytest.raises(PreconditionFailed, match="not put back by this version"):
        restoring.choose([Copies(part, (Copy("1", NOW, 1, 1, aside=False),))], None)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "26-11-29"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no time"):
        restore._moment(text)


def test_a_day_ends_with_its_last_second() -> None:
    found = restore._moment("2026-11-29")
    assert found
    assert (found.hour, found.minute, found.second) == (23, 59, 59)
    assert restore._moment("") is None
