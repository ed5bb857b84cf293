"""A guest whose card may not come back from a reset is stopped by nobody who was not told to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import names, report, targets
from aihub.errors import PreconditionFailed
from aihub.options import Options
from aihub.owners import resets
from aihub.owners.run import Run
from aihub.plan import Change, Plan
from aihub.proxmox.errors import RefusedByProxmox
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.directory import State

from tests.unit.aihub.hubs import small

VMID = small().guests["private-ai"].vmid
CONFIG = {"description": f"{names.marker(small().id)} vmid={VMID} guest=private-ai", "hostpci0": "mapping=big,pcie=1"}
RUNS = ActualGuest(VMID, "vm", "pve", "private-ai", "running", config=CONFIG)
RESTART = Change("private-ai", "update", "guests", "token", "cores differs", restart=True, details={"vmid": VMID})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    cards = {"big": "10de:2b85", "other": "10de:2504"}

    def get(_self: Root, path: str, **_: Any) -> dict[str, list[str]]:
        name = path.rpartition("/")[2]
        if name not in cards:
            raise RefusedByProxmox("no such mapping", status=500)
        return {"map": ["node=else,path=0000:09:00,id=10de:2504", f"node=pve,path=0000:01:00,id={cards[name]}"]}

    monkeypatch.setattr(Root, "get", get)
    found = Run(Options(), small(), State(tmp_path), targets.chosen(Options(), small()), report, ExitStack(), "up")
    found.guests = ActualGuests({VMID: RUNS})
    found.plan = Plan((RESTART,))
    return found


def allowed(run: Run) -> Run:
    return replace(run, options=replace(run.options, allow_gpu_reset=True))


def test_a_restart_of_it_is_told_and_refused_unless_allowed(run: Run) -> None:
    resets.warn(run)
    (told,) = run.plan.warnings
    assert "guest private-ai runs with card big, a GeForce RTX 5090" in told
    with pytest.raises(PreconditionFailed) as raised:
        resets.refuse(run)
    assert raised.value.hint == "if that is meant: aihub up --allow-gpu-reset"
    resets.refuse(allowed(run))


def test_so_is_its_removal_with_the_hub(run: Run) -> None:
    gone = Plan((replace(RESTART, action="delete", restart=False),))
    with pytest.raises(PreconditionFailed, match="runs with card big") as raised:
        resets.refuse_removal(run, gone)
    assert raised.value.hint == "if that is meant: the same command with --allow-gpu-reset"
    resets.refuse_removal(allowed(run), gone)
    resets.refuse_removal(run, Plan())


def test_so_are_stop_and_restart_by_name(run: Run) -> None:
    for action, inside in (("stop", False), ("restart", True)):
        with pytest.raises(PreconditionFailed) as raised:
            resets.refuse_power(run, "private-ai", action)
        assert ("systemctl reboot" in (raised.value.hint or "")) == inside
        assert f"aihub {action} private-ai --allow-gpu-reset" in (raised.value.hint or "")
    resets.refuse_power(allowed(run), "private-ai", "stop")
    resets.refuse_power(run, "db", "stop")


@pytest.mark.parametrize(
    "guest",
    [
        replace(RUNS, status="stopped"),
        replace(RUNS, config={**CONFIG, "hostpci0": "mapping=other,pcie=1"}),
        replace(RUNS, config={**CONFIG, "hostpci0": "mapping=strange,pcie=1"}),
        replace(RUNS, config={key: value for key, value in CONFIG.items() if key != "hostpci0"}),
        replace(RUNS, current={"hostpci0": None}),
        replace(RUNS, config={**CONFIG, "description": "somebody's"}),
    ],
)
def test_nothing_is_at_risk_in_a_guest_that_does_not_run_with_such_a_card(run: Run, guest: ActualGuest) -> None:
    run.guests = ActualGuests({VMID: guest})
    resets.refuse(run)
    resets.warn(run)
    assert run.plan.warnings == ()


def test_what_restarts_nobody_is_no_risk(run: Run) -> None:
    run.plan = Plan((replace(RESTART, restart=False),))
    resets.refuse(run)
    run.plan = Plan((replace(RESTART, action="delete", restart=False),))
    with pytest.raises(PreconditionFailed):
        resets.refuse(run)
