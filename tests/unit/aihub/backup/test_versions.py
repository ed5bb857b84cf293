"""What a newer program wrote is given to no older one: by what each instance ran when its copy was made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aihub import paths
from aihub.backup import parts, restoring, versions
from aihub.backup.listing import Copy
from aihub.backup.restoring import Restored
from aihub.errors import PreconditionFailed
from aihub.model.resolved import Instance
from aihub.reading import load
from aihub.state.directory import State

HUB = load.load(paths.DEFAULT_HUB, target="lab")
NAME = "chroma@private-ai"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def ran(monkeypatch: pytest.MonkeyPatch, state: State, *images: str) -> None:
    """It ran these, one after the other, an hour each until now."""
    for hours, image in zip(range(len(images), 0, -1), images, strict=True):
        monkeypatch.setattr(versions, "images", lambda _, image=image: {"image of chroma": image})
        versions.record(state, [HUB.instance(NAME)], NOW - timedelta(hours=hours))


def restore(state: State, hours: float) -> None:
    (part,) = parts.chosen(HUB, [NAME])
    made = NOW - timedelta(hours=hours)
    restoring.refuse_newer(HUB, state, [Restored(part, Copy("1", made, 1, 1, aside=False))])


@pytest.mark.parametrize(
    ("images", "refused"),
    [
        (("chroma:1.10.0", "chroma:1.9.3"), True),
        (("chroma:1.9.3", "chroma:1.10.0"), False),
        (("chroma:1.9.3@sha256:99", "chroma:1.9.3@sha256:11"), False),
        (("other:9", "chroma:1"), False),
        (("host:5000/chroma", "chroma:1"), False),
    ],
)
def test_a_newer_one_is_refused_and_every_other_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Sequence[str], refused: bool
) -> None:
    ran(monkeypatch, State(tmp_path), *images)
    restore(State(tmp_path), 0.5)
    restore(State(tmp_path), 9)  # of a time that nobody knows
    if refused:
        with pytest.raises(PreconditionFailed, match=r"written by chroma:1\.10\.0, and chroma:1\.9\.3 is to read it"):
            restore(State(tmp_path), 1.5)
    else:
        restore(State(tmp_path), 1.5)


def test_what_did_not_stay_never_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)
    instance: Instance = HUB.instance(NAME)
    ran(monkeypatch, state, "chroma:1", "chroma:2")
    versions.record(state, [instance], NOW)
    assert versions.at(state, instance, NOW) == ("chroma:2",)
    versions.take_back(state, instance, NOW - timedelta(minutes=61))
    assert versions.at(state, instance, NOW) == ("chroma:1",)
