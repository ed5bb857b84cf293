"""Where the files of a hub lie."""

from __future__ import annotations

import pytest
from aihub.model.target import Word
from aihub.state.directory import State


@pytest.mark.parametrize(
    ("hub", "target", "lab", "name", "found"),
    [
        ("aihub", "lab", "aihub", "aihub-lab-aihub", "aihub"),
        ("aihub", "lab", "my-lab-2", "aihub-lab-my-lab-2", "my-lab-2"),
        ("aihub", "pve", "aihub", "aihub-pve", ""),
        ("my-lab-hub", "pve", "x", "my-lab-hub-pve", ""),
    ],
)
def test_a_state_knows_whose_lab_it_is_of(hub: str, target: Word, lab: str, name: str, found: str) -> None:
    state = State.of(hub, target, lab)
    assert (state.directory.name, state.lab(hub)) == (name, found)
