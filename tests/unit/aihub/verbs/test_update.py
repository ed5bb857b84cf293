"""Which instances `aihub update` takes, and when the former version comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths
from aihub.errors import Conflict, HubError, InvalidInput, PreconditionFailed, TaskFailed, Unreachable
from aihub.guests import held
from aihub.options import Options
from aihub.plan import Change, Plan
from aihub.reading import load
from aihub.state.directory import State
from aihub.verbs import update

HUB = load.load(paths.DEFAULT_HUB, target="lab")
TEXTS = {
    "stack/chroma": ["stack/chroma is to be made anew: image chroma 1 -> 2"],
    "stack/canary": ["stack/canary is to be made anew: settings changed"],
    "stack/nobody": ["stack/nobody is to be made anew: image nobody 1 -> 2"],
    "docker": ["docker is to be made anew: image 1 -> 2"],
}


class Place:
    """A run that changes nothing; remembers what was done."""

    def __init__(self, home: Path) -> None:
        change = Change("private-ai", "configure", "insides", "guest", "", details={"texts": TEXTS})
        self.run: Any = SimpleNamespace(hub=HUB, state=State(home), plan=Plan((change,)), options=Options())
        self.done: list[str] = []
        self.result: int | HubError = 0

    def up(self, options: Options) -> int:
        assert options.only == ("chroma@private-ai",)
        self.done.append("up")
        if isinstance(self.result, HubError):
            raise self.result
        return self.result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    found = Place(tmp_path)

    @contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[Any]:
        yield found.run

    monkeypatch.setattr(update, "opened", opened)
    monkeypatch.setattr(update, "perform", lambda *_: None)
    monkeypatch.setattr(update.up, "run", found.up)
    monkeypatch.setattr(held, "in_force", lambda *_: {})
    monkeypatch.setattr(held, "hold", lambda *_: found.done.append("held"))
    for name in ("keep", "put_back", "forget"):
        monkeypatch.setattr(update.former, name, lambda *_, name=name: found.done.append(name))
    monkeypatch.setattr(update, "_start", lambda *_: found.done.append("start"))
    return found


def chosen(place: Place, *names: str) -> list[str]:
    place.run.options = Options(only=names)
    return update._chosen(place.run)


def test_by_itself_it_takes_whose_images_differ(place: Place) -> None:
    assert chosen(place) == ["chroma@private-ai"]
    assert chosen(place, "canary@private-ai") == ["canary@private-ai"]
    with pytest.raises(InvalidInput, match="no instance private-ai"):
        chosen(place, "private-ai")


def notes(place: Place) -> list[str]:
    return [path.name for path in (place.run.state.directory / "updates").glob("*")]


def test_a_version_that_does_well_stays_and_nothing_is_left_of_the_other(place: Place) -> None:
    assert update.run(Options(only=("chroma@private-ai",))) == 0
    assert place.done == ["keep", "up", "forget"]
    assert notes(place) == []


@pytest.mark.parametrize(
    ("result", "why"),
    [(7, "its checks failed"), (TaskFailed("it did not start"), "it did not start"), (Unreachable("no ssh"), "no ssh")],
)
def test_one_that_does_not_comes_back_and_is_held(place: Place, result: int | HubError, why: str) -> None:
    place.result = result
    with pytest.raises(TaskFailed, match=f"{why}\nit is back at its former version"):
        update.run(Options(only=("chroma@private-ai",)))
    assert place.done == ["keep", "up", "put_back", "held", "start", "forget"]
    assert notes(place) == []


@pytest.mark.parametrize("refusal", [PreconditionFailed("data would be lost"), Conflict("a foreign guest")])
def test_what_is_refused_before_anything_starts_again_and_is_not_held(place: Place, refusal: HubError) -> None:
    place.result = refusal
    with pytest.raises(type(refusal)):
        update.run(Options(only=("chroma@private-ai",)))
    assert place.done == ["keep", "up", "start", "forget"]
    assert notes(place) == []


def test_one_that_was_killed_is_finished_first_and_by_name(place: Place) -> None:
    folder = place.run.state.directory / "updates"
    folder.mkdir()
    note = folder / "chroma@private-ai.json"
    note.write_text('{"began": "2026-11-29T03:00:00+00:00", "copies": {}, "failed": "it did not start"}')
    with pytest.raises(PreconditionFailed, match="an update of chroma@private-ai is not finished"):
        chosen(place, "canary@private-ai")
    with pytest.raises(TaskFailed, match="it did not start"):
        place.run.options = Options()
        update.run(Options())
    assert place.done == ["put_back", "held", "start", "forget"], "what failed once is not tried again"


def test_data_at_providers_without_copies_is_refused_before_it_stops(place: Place) -> None:
    place.run.hub, place.run.options = replace(HUB, copiers={}), Options(only=("open-webui@private-ai",))
    with pytest.raises(PreconditionFailed, match="what it keeps at postgres@private-data is not copied") as raised:
        update.run(place.run.options)
    assert "--no-backup" in raised.value.hint
    assert place.done == []
