"""Runs the playbooks on guests; the only user of ansible-runner."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aihub import process, reaper, render, words
from aihub.errors import HubError, TaskFailed, Unreachable, together
from aihub.model.resolved import Hub
from aihub.paths import ROOT
from aihub.state.directory import State

Progress = Callable[[str, str], None]
Phase = Literal["machine", "stacks"]
Wanted = Mapping[str, Collection[str] | None]
Failed = Mapping[str, HubError]  # by guest, or by instance where only that did not start

_PLAYBOOKS = {"machine": "machines.yml", "stacks": "stacks.yml"}
_STACK = "stack/"
_RETIRED = "retired"  # the tag under which a guest loses the roles that it no longer needs
_LAST = "Report instances that did not start"  # the last task of roles/stack: a guest is through with it
_OVER = ("runner_on_ok", "runner_on_failed", "runner_on_skipped")
_LONGEST = 3600  # seconds that one task may take on a guest: as long as the units of several instances one by one
_TAIL = 20  # lines of a failed run's output
_NEEDED = ("HOME", "LANG", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER")


def converge(
    hub: Hub,
    state: State,
    wanted: Wanted,
    *,
    phase: Phase,
    instances: Collection[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """As `attempt`. Raises TaskFailed or Unreachable when all are through."""
    if failed := attempt(hub, state, wanted, phase=phase, instances=instances, progress=progress):
        raise together(list(failed.values()))


def attempt(
    hub: Hub,
    state: State,
    wanted: Wanted,
    *,
    phase: Phase,
    instances: Collection[str] | None = None,
    progress: Progress | None = None,
    through: Callable[[str, Failed], None] = lambda guest, failed: None,
    stop: threading.Event | None = None,
) -> dict[str, HubError]:
    """Makes guests as their roles say; returns what failed, by guest, or by instance where only that did not start.

    `wanted` maps a guest to what differs there (`ssh`, `stack/NAME`), None for everything; `instances`
    narrows the stacks phase to some (`NAME@GUEST`). `through` hears of each guest of the stacks phase that no
    longer waits for others, with all that failed so far; `stop` ends it early.
    """
    failed: dict[str, HubError] = {}
    only = _chosen(hub, wanted, instances) if phase == "stacks" else {}
    runs = _runs(wanted, render.desired(hub, state)) if phase == "machine" else {(): list(only)} if only else {}
    if not runs:
        return failed
    with _folder(hub, state) as folder:
        for tags, guests in runs.items():
            run = _Run(folder, progress or _silent, through, stop)
            # What is undeclared goes in `remove`, before anything is begun: by itself the playbook would look for it.
            run.play(_PLAYBOOKS[phase], guests, tags, {"stack_only": only, "stack_gone": {}} if only else None)
            failed.update(run.failed)
    return failed


def remove(
    hub: Hub, state: State, gone: Mapping[str, Sequence[str]], progress: Progress, stop: threading.Event | None = None
) -> dict[str, HubError]:
    """Takes stacks away that nobody declares any more, by guest, and keeps their data; returns what failed by guest."""
    with _folder(hub, state) as folder:
        run = _Run(folder, progress, stop=stop)
        variables = {"stack_only": {guest: [] for guest in gone}, "stack_gone": dict(gone)}
        run.play(_PLAYBOOKS["stacks"], list(gone), (), variables)
        return run.failed


@contextmanager
def _folder(hub: Hub, state: State) -> Iterator[Path]:
    with state.scratch("ansible") as folder:
        (folder / "inventory.json").write_text(json.dumps(render.inventory(hub, state)))
        yield folder


def _silent(subject: str, text: str) -> None:
    """Progress that nobody wants to hear of."""


def _runs(wanted: Wanted, desired: Mapping[str, Collection[str]]) -> dict[tuple[str, ...], list[str]]:
    """Guests that need the same roles, together; no tags stand for every role."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for guest, keys in wanted.items():
        there = {key if key in desired[guest] else _RETIRED for key in keys or () if not key.startswith(_STACK)}
        roles = tuple(sorted(there))
        if keys is None or roles:
            runs.setdefault(roles, []).append(guest)
    return runs


def _chosen(hub: Hub, wanted: Wanted, instances: Collection[str] | None) -> dict[str, list[str]]:
    """For each guest with something to do, the stacks to bring up."""
    chosen: dict[str, list[str]] = {}
    for guest, keys in wanted.items():
        here = {i.stack.name for i in hub.on(guest) if instances is None or i.name in instances}
        stacks = here if keys is None else {k.removeprefix(_STACK) for k in keys if k.startswith(_STACK)}
        if stacks & here:
            chosen[guest] = sorted(stacks & here)
    return chosen


class _Run:
    """One run of ansible-playbook, and what its events told."""

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        through: Callable[[str, Failed], None] = lambda guest, failed: None,
        stop: threading.Event | None = None,
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._through = through
        self._stop = stop
        self.failed: dict[str, HubError] = {}

    def play(
        self, playbook: str, guests: list[str], tags: tuple[str, ...], variables: Mapping[str, Any] | None
    ) -> None:
        import ansible_runner

        with _signals_kept(), process.environment() as whole:
            result = ansible_runner.interface.init_runner(
                private_data_dir=str(self._folder),
                project_dir=str(ROOT),
                playbook=f"playbooks/{playbook}",
                inventory=str(ROOT / "inventory" / "hosts"),
                limit=",".join(guests),
                tags=",".join(tags) or None,
                extravars=dict(variables) if variables else None,
                envvars=self._environment(),
                event_handler=self._event,
                cancel_callback=self._stop.is_set if self._stop else None,
                quiet=True,
            )
            mark = {reaper.MARK: whole[reaper.MARK]}
            result.config.env = {**_without_strangers(result.config.env), **mark}
            result.run()
            if result.status == "canceled":
                raise KeyboardInterrupt  # ansible-runner killed ansible-playbook, but none of its workers
        if result.status != "successful" and not self.failed:
            tail = "\n".join(result.stdout.read().strip().splitlines()[-_TAIL:])
            error = TaskFailed(f"ansible-playbook {playbook} ended {result.status}\n{words.last(tail)}")
            self.failed.update(dict.fromkeys(guests, error))

    def _environment(self) -> dict[str, str]:
        return {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner would turn it off, over the ssh_config's own word
            "ANSIBLE_SSH_EXECUTABLE": str(ROOT / "python" / "aihub" / "ssh" / "bounded"),
            "ANSIBLE_TASK_TIMEOUT": str(_LONGEST),
            "ANSIBLE_LOCAL_TEMP": str(self._folder / "tmp"),
            "AIHUB_INVENTORY": str(self._folder / "inventory.json"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }

    def _event(self, event: dict[str, Any]) -> bool:
        """Takes one event in; False keeps ansible-runner from writing it to disk."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        guest, failed = data.get("host", ""), kind == "runner_on_failed" and not data.get("ignore_errors")
        if kind == "runner_on_start":
            self._progress(guest, data.get("task", "").lower())
        elif failed and data.get("task") == _LAST:
            self.failed.update(_instances(guest, data))
        elif failed:
            self.failed[guest] = TaskFailed(_reason(data), where=f"{guest}, {_task(data)}", hint="aihub up")
        elif kind == "runner_on_unreachable":
            reason = str(data.get("res", {}).get("msg", "did not answer"))
            self.failed[guest] = Unreachable(words.last(reason), where=f"{guest}, {_task(data)}", hint="aihub up")
        if guest in self.failed or (data.get("task") == _LAST and kind in _OVER):
            self._through(guest, self.failed)
        return False


def _instances(guest: str, data: Mapping[str, Any]) -> dict[str, HubError]:
    """Of the last task, the instances that did not start."""
    said = {str(one["item"]): one for one in data["res"]["results"] if one.get("failed")}
    return {
        (name := f"{stack}@{guest}"): TaskFailed(_reason({"res": one}), where=name, hint="aihub up")
        for stack, one in said.items()
    }


def _without_strangers(environment: Mapping[str, str]) -> dict[str, str]:
    """What Ansible needs of an environment: ansible-runner writes it to disk, and a person's may hold their secrets."""
    inherited = {name for name, value in os.environ.items() if environment.get(name) == value}
    kept = (*_NEEDED, *(name for name in inherited if name.startswith(("AIHUB_", "ANSIBLE_", "LC_", "PVELAB_"))))
    return {name: value for name, value in environment.items() if name not in inherited or name in kept}


@contextmanager
def _signals_kept() -> Iterator[None]:
    """ansible-runner takes SIGINT and SIGTERM for itself and keeps them: Ctrl-C would be lost ever after."""
    main = threading.current_thread() is threading.main_thread()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _task(data: Mapping[str, Any]) -> str:
    role = data.get("role", "")
    return f"{role}: {data.get('task', '')}" if role else str(data.get("task", ""))


def _reason(data: Mapping[str, Any]) -> str:
    """The last lines of what a failed task said; of a loop, of the items that failed."""
    result = data.get("res", {})
    items = [one for one in result.get("results", ()) if one.get("failed")] or [result]
    texts = []
    for one in items:
        parts = (str(one.get(key, "")).strip() for key in ("msg", "stderr", "stdout"))
        texts.append("\n".join(part for part in parts if part))
    return words.last("\n".join(texts))
