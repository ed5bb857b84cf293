"""A hub of two guests on a Proxmox without any: `db` answers honestly, `ai` as the corpus says; aihub runs whole."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihub import render
from aihub.reading import load

from tests.attacks.answers.corpus import ALIKE, BY_FILE
from tests.contract.provision_lab import Hub, Lab, Result

HERE = Path(__file__).parent
GUEST, OTHER = "ai", "db"
MARGIN = 1.0  # seconds that the others get when one has answered; the product gives more, which one test waits for
FILE = {"content": "x", "mode": "0644", "owner": "0:0"}


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code, what it printed, how long it took and the most memory that it had (MiB)."""

    code: int
    output: str
    seconds: float
    memory: float

    @property
    def plan(self) -> dict[str, Any]:
        """What `plan --json` printed, behind whatever it said meanwhile."""
        found: dict[str, Any] = json.loads(self.output[self.output.index("{\n") :])
        return found


class World:
    """The hub, and what its guests answer."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hub: Hub = lab.hub("answers")
        self.hub.ok("up")
        self._answers("calm", drift=False)
        self._answers("drift", drift=True)
        (ended,) = self.run(None, "up")  # the node's own part, too
        assert ended.code == 0, ended.output

    def _answers(self, name: str, *, drift: bool) -> None:
        """What honest guests say; with `drift` something of `db` is to be done, so that its part can be compared."""
        folder = self.hub.directory / name
        folder.mkdir()
        state, path = self.hub.state, self.hub.directory / "hub.yml"
        hub = load.load(path, target="pve")
        for guest, desired in render.desired(hub, state).items():
            base = {"files": {"/etc/hub/x": FILE}, "units": {}, "boot_units": {}, "tables": {}, "stacks": {}}
            now = {**base, "files": {"/etc/hub/x": None if drift and guest == OTHER else FILE}}
            answer = {
                "manifest": {"format": 1, "desired": desired, "entries": {"base": base}},
                "actual": {"base": now},
                "there": {"stacks": {}, "others": []},
                "secrets": {},
                "agent": None,
                "data": [],
                "lines": {},
            }
            (folder / f"{guest}.json").write_text(json.dumps(answer))

    def environment(self, program: str | None, honest: str = "drift") -> dict[str, str]:
        """Where our `ssh` is found, and how the guest answers; None: honestly."""
        file = self.hub.directory / "hostile.py"
        if program is not None:
            file.write_text(BY_FILE + ALIKE + program + "\n")
        return {
            "PATH": f"{HERE}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "HONEST": str(self.hub.directory / honest),
            "HOSTILE": str(file) if program is not None else "",
            "HOSTILE_GUEST": GUEST,
        }

    def run(self, program: str | None, *verbs: str, after: float = MARGIN) -> list[Ended]:
        """Each verb while the guest answers so; `plan --json` as it prints it, the others as a person reads them."""
        jobs = [self._job(program, number, verb, after) for number, verb in enumerate(verbs)]
        return [self._ended(job, result) for job, result in zip(jobs, self.lab.run(*jobs), strict=True)]

    def _job(self, program: str | None, number: int, verb: str, after: float) -> dict[str, Any]:
        name, *options = verb.split()
        files = {key: str(self.hub.directory / f"{key}-{number}") for key in ("output", "made", "peak")}
        more = {"scope": "all", "as_json": "--json" in options, "after": after}
        environment = self.environment(program, "calm" if name == "up" else "drift")
        return self.hub.job(name, environment=environment, **files, **more)

    def _ended(self, job: Mapping[str, Any], result: Result) -> Ended:
        assert not result.late, f"{job['verbs']} did not end"
        output, peak = (Path(job[key]).read_text(errors="surrogateescape") for key in ("output", "peak"))
        return Ended(result.code, output, result.seconds, int(peak) / 1024)
