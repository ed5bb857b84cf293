"""What refuses while the store is brought up: a refusal as long as nothing was changed, a failure after that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, render, report, targets
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.guests.probe import Inside
from aihub.options import Options
from aihub.owners import vault
from aihub.owners.run import Run, perform
from aihub.plan import Plan
from aihub.reading import load
from aihub.state.directory import State
from aihub.vault.desired import vault_of


@pytest.mark.parametrize(("begun", "error"), [(True, TaskFailed), (False, PreconditionFailed)])
def test_a_kit_that_nobody_proved_is_no_refusal_once_the_store_was_begun(
    begun: bool, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, hub = Options(), load.load(paths.DEFAULT_HUB, target="lab")
    first = vault._begin(vault_of(hub), "is to be initialised")

    @contextmanager
    def connected(*_: object) -> Iterator[None]:
        yield None

    def unproven(*_: object) -> None:
        raise PreconditionFailed("nobody has shown that the recovery kit can be opened")

    for place, name, stand_in in (
        (vault.vaults, "connected", connected),
        (vault, "await_unsealing", lambda *_: None),
        (vault, "_again", lambda *_: [first] if begun else []),
        (vault.bringup, "bring_up", unproven),
    ):
        monkeypatch.setattr(place, name, stand_in)

    def apply(run: Any) -> None:
        vault.apply(run, Plan((first,)), lambda *_: None)

    with ExitStack() as stack, pytest.raises(error, match="nobody has shown"):
        perform(Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up"), (apply,))


@pytest.mark.parametrize(("folders", "refused"), [(["db/", "infra/"], True), (["db/", "cache/"], False), ([], False)])
def test_a_hub_of_an_older_layout_is_left_alone(folders: list[str], refused: bool, tmp_path: Path) -> None:
    class Store:
        def names(self, _path: str) -> list[str]:
            return folders

    options, hub = Options(), load.load(paths.DEFAULT_HUB, target="lab")
    with ExitStack() as stack:
        run = Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up")
        raised = (
            pytest.raises(PreconditionFailed, match="an older checkout made this hub") if refused else nullcontext()
        )
        with raised:
            vault._refuse_older(run, Store())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("openbao/openbao:2.0.0", False),
        ("hashicorp/vault:1.21.1", True),
        ("", False),  # an older aihub wrote no such thing down
    ],
)
def test_a_store_is_opened_by_no_other_server_than_the_one_that_made_it(
    image: str, refused: bool, tmp_path: Path
) -> None:
    options, hub = Options(), load.load(paths.DEFAULT_HUB, target="lab")
    store = hub.vault
    assert store is not None
    (part,) = render.images(store)
    made_from = {f"stack/{store.stack.name}": {part: image} if image else {}}
    with ExitStack() as stack:
        run = Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up")
        run.insides = {store.guest.name: Inside(store.guest.name, manifest={"made_from": made_from})}
        with pytest.raises(PreconditionFailed, match="keeps the flavour") if refused else nullcontext():
            vault._refuse_other_server(run, store)
