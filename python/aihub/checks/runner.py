"""Runs the checks: pytest over `aihub/checks` and the tests in the folders of the hub's stacks."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aihub import paths, process, words
from aihub.errors import InvalidInput, TaskFailed
from aihub.model.resolved import Hub, Instance
from aihub.state.directory import State

CHECKS = Path(__file__).resolve().parents[1] / "checks"
PASSED, SOME_FAILED = 0, 1  # of pytest's exit codes, those after which the results count
NONE_CHOSEN = 5
TIME_LIMIT = 1800.0
FEW, PAUSE = 60, 3.0  # failed checks that are tried again, and the seconds before that
WORKERS = 4  # they mostly wait, for networks and for services

Outcome = Literal["passed", "failed", "skipped"]
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class CheckResult:
    """What became of one claim; `label` says what is simulated about it."""

    subject: str
    claim: str
    outcome: Outcome
    seconds: float
    message: str = ""
    label: str = ""
    origin: str = ""  # `guest`, `instances`, `zones`, `node`, or `stacks/X` for a stack's own test

    def as_json(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        return asdict(self)


def run(
    hub: Hub,
    state: State,
    select: Sequence[str] = (),
    progress: Progress | None = None,
    waiting: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Runs every check, or those about `select`: guests, instances, stacks, `zones`, `node`, `controller`.

    Instances that are `waiting` are not checked, and listed with their reason. A failed check is a result: where few
    fail they are tried once more, and who passes only then says so. Raises TaskFailed when the checks themselves could
    not run or there were none, and InvalidInput for a name in `select` that is nothing of this hub.
    """
    _refuse_unknown(hub, select)
    found = _once(hub, state, select, progress, waiting or {})
    failed = [name for name, result in found.items() if result.outcome == "failed"]
    if 0 < len(failed) <= FEW:
        time.sleep(PAUSE)
        again = _once(hub, state, select, progress, waiting or {}, failed)
        found |= {name: _at_last(found[name], again[name]) for name in failed if name in again}
    return list(found.values())


def _at_last(first: CheckResult, second: CheckResult) -> CheckResult:
    """What two tries say together: who passes at the second has a note of what the first one found."""
    if second.outcome == "failed":
        if second.message == first.message:
            return first
        return replace(first, message=f"{first.message}\nat the second try: {second.message}")
    said = words.line(next(iter(first.message.strip().splitlines()), ""), 160)
    label = "; ".join(filter(None, (second.label, f"passed at the second try only: {first.claim}: {said}")))
    return replace(second, label=label)


def _once(
    hub: Hub,
    state: State,
    select: Sequence[str],
    progress: Progress | None,
    waiting: Mapping[str, str],
    only: Collection[str] = (),
) -> dict[str, CheckResult]:
    """One run of pytest: the results by the checks' ids, of `only` these checks where there are some."""
    with state.scratch("checks") as scratch:
        lines = scratch / "results.jsonl"
        lines.touch()
        watch = _Watch(lines, progress)
        try:
            done = process.run(
                [*command(hub, state, select), *_of_these(scratch, only)],
                env=_environment(hub, state, lines, waiting),
                check=False,
                timeout=TIME_LIMIT,
                cwd=paths.ROOT,
            )
        finally:
            told = watch.stop()
    found, collected = merged(told), order(told)
    apart = {f"{one.subject} runs": one for one in (*_left_out(hub, select), *_waiting(hub, select, waiting))}
    if done.returncode == NONE_CHOSEN and apart:
        return apart  # nothing else was asked about
    if done.returncode not in (PASSED, SOME_FAILED) or not found:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise TaskFailed("the checks did not run:\n" + words.last(output), where="verify")
    if len(found) != len(collected):
        raise TaskFailed(f"of {len(collected)} checks, {len(found)} have a result", where="verify")
    if done.returncode == SOME_FAILED and all(r.outcome != "failed" for r in found.values()):
        found[""] = CheckResult("hub", "pytest ends without an error", "failed", 0.0, _tail(done.stdout))
    return {**found, **apart}


def command(hub: Hub, state: State, select: Sequence[str]) -> list[str]:
    """The pytest command line; `cd` to the repository and AIHUB_* in the environment make it run by hand."""
    folders = {paths.STACKS / i.stack.name for i in hub.instances}
    tests = sorted(test for folder in folders for test in folder.glob("test_*.py"))
    subjects = [option for name in select for option in ("--subject", name)]
    return [
        *(sys.executable, "-m", "pytest", "-q", "-c", str(CHECKS / "pytest.ini")),
        *("--rootdir", os.path.commonpath([paths.ROOT, paths.STACKS]), "--confcutdir", str(paths.ROOT)),
        f"--workers={WORKERS}",
        *(f"--junitxml={state.runs / 'junit.xml'}", *subjects, str(CHECKS), *map(str, tests)),
    ]


def _of_these(scratch: Path, only: Collection[str]) -> list[str]:
    """Further options for a second try; the file for other programs stays that of the first, which has every check."""
    if not only:
        return []
    chosen = scratch / "only"
    chosen.write_text("".join(f"{name}\n" for name in only))
    return ["--only", str(chosen), f"--junitxml={scratch / 'junit.xml'}"]


def _environment(hub: Hub, state: State, lines: Path, waiting: Collection[str]) -> dict[str, str]:
    return {
        "AIHUB_HUB": str(Path(hub.path).absolute()),
        "AIHUB_TARGET": hub.target.word,
        "AIHUB_STATE_DIR": str(state.directory),
        "AIHUB_PACKAGE_HOSTS": " ".join(hub.package_hosts),
        "AIHUB_RESULTS": str(lines),
        "AIHUB_WAITING": " ".join(waiting),
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what else is installed costs time and changes nothing here
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1"))),  # forwards end here
    }


def _refuse_unknown(hub: Hub, select: Sequence[str]) -> None:
    known = {*hub.guests, *hub.stacks, *(i.name for i in hub.instances), "zones", "node", "controller"}
    if unknown := [name for name in select if name not in known]:
        raise InvalidInput(
            f"no guest, instance or stack of this hub: {', '.join(unknown)}",
            where=hub.path,
            hint=f"there are: {', '.join(sorted(known))}",
        )


def _left_out(hub: Hub, select: Sequence[str]) -> list[CheckResult]:
    """The stacks whose image cannot be made, and say why: never a silent pass."""
    if not hub.target.makes_images:
        return []
    return [
        CheckResult(i.name, "it runs", "skipped", 0.0, i.stack.skipped, "not in the lab")
        for i in hub.instances
        if i.stack.skipped and _asked(i, select)
    ]


def _waiting(hub: Hub, select: Sequence[str], waiting: Mapping[str, str]) -> list[CheckResult]:
    """The instances that are not started yet, and what they wait for."""
    return [
        CheckResult(name, "it runs", "skipped", 0.0, why)
        for name, why in waiting.items()
        if _asked(hub.instance(name), select)
    ]


def _asked(instance: Instance, select: Sequence[str]) -> bool:
    return not select or bool({instance.name, instance.stack.name, instance.guest.name} & set(select))


def order(lines: Sequence[str]) -> list[str]:
    """The checks that are to have a result."""
    return next((list(raw["collected"]) for raw in map(json.loads, lines) if "collected" in raw), [])


def merged(lines: Sequence[str]) -> dict[str, CheckResult]:
    """The results by id, in the order in which the checks were collected; one that failed in any phase failed."""
    found: dict[str, CheckResult] = {}
    for raw in map(json.loads, lines):
        if "collected" in raw:
            continue
        name = raw.pop("id")
        result = CheckResult(**raw)
        known = found.get(name)
        if known is None:
            found[name] = result
        elif result.outcome == "failed":
            message = f"{known.message}\n{result.message}".strip()
            found[name] = replace(known, outcome="failed", message=message)
    places = {name: place for place, name in enumerate(order(lines))}
    return {name: found[name] for name in sorted(found, key=lambda name: places.get(name, 0))}


def _tail(output: bytes) -> str:
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-5:])


class _Watch:
    """Reads results while pytest writes them, to show progress."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._path = path
        self._progress = progress
        self._end = threading.Event()
        self._shown = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> list[str]:
        """Everything that was written."""
        self._end.set()
        self._thread.join()
        self._show()
        return self._lines()

    def _follow(self) -> None:
        while not self._end.wait(0.2):
            self._show()

    def _show(self) -> None:
        if not self._progress:
            return
        lines = self._lines()
        for result in merged(lines[self._shown :]).values():
            failed = f"FAILED: {result.claim}" if result.outcome == "failed" else "being checked"
            self._progress(result.subject, failed)
        self._shown = len(lines)

    def _lines(self) -> list[str]:
        text = self._path.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1].splitlines()
