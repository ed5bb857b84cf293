"""Runs the playbooks on guests; the only user of ansible-runner."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aihub import process, reaper, render
from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.model.resolved import Hub
from aihub.paths import ROOT
from aihub.state.directory import State

Progress = Callable[[str, str], None]
Phase = Literal["machine", "stacks"]
Wanted = Mapping[str, Collection[str] | None]

_PLAYBOOKS = {"machine": "machines.yml", "stacks": "stacks.yml"}
_STACK = "stack/"
_TAIL = 20  # lines of a failed task's output
_NEEDED = ("HOME", "LANG", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER")


def converge(
    hub: Hub,
    state: State,
    wanted: Wanted,
    *,
    phase: Phase,
    instances: Collection[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Makes guests as their roles say; returns for each guest how many tasks changed something.

    `wanted` maps a guest to what differs there (`ssh`, `stack/postgres`), None for everything; `instances`
    narrows the stacks phase to some (`egress@cache`). Raises TaskFailed or Unreachable when all are through.
    """
    changed: dict[str, int] = {}
    failures: list[HubError] = []
    only = _chosen(hub, wanted, instances) if phase == "stacks" else {}
    with state.scratch("ansible") as folder:
        (folder / "inventory.json").write_text(json.dumps(render.inventory(hub, state)))
        for tags, guests in _runs(wanted).items() if phase == "machine" else [((), list(only))]:
            if guests:
                run = _Run(folder, progress or (lambda _subject, _text: None))
                run.play(_PLAYBOOKS[phase], guests, tags, only)
                changed.update(run.changed)
                failures += run.failures
    if failures:
        raise _together(failures)
    return changed


def _runs(wanted: Wanted) -> dict[tuple[str, ...], list[str]]:
    """Guests that need the same roles, together; no tags stand for every role."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for guest, keys in wanted.items():
        roles = () if keys is None else tuple(sorted(k for k in keys if not k.startswith(_STACK)))
        if keys is None or roles:
            runs.setdefault(roles, []).append(guest)
    return runs


def _chosen(hub: Hub, wanted: Wanted, instances: Collection[str] | None) -> dict[str, list[str]]:
    """For each guest with something to do, the stacks to bring up; none where stacks only have to go."""
    chosen: dict[str, list[str]] = {}
    for guest, keys in wanted.items():
        here = {i.stack.name for i in hub.on(guest)}
        stacks = here if keys is None else {k.removeprefix(_STACK) for k in keys if k.startswith(_STACK)}
        gone = stacks - here
        if instances is not None:
            here = {i.stack.name for i in hub.on(guest) if i.name in instances}
        if stacks & here or (gone and instances is None):
            chosen[guest] = sorted(stacks & here)
    return chosen


def _together(failures: list[HubError]) -> HubError:
    if len(failures) == 1:
        return failures[0]
    kind = Unreachable if all(isinstance(f, Unreachable) for f in failures) else TaskFailed
    return kind("\n".join(str(f) for f in failures), hint="aihub up")


class _Run:
    """One run of ansible-playbook, and what its events told."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self.changed: dict[str, int] = {}
        self._failed: dict[str, HubError] = {}

    @property
    def failures(self) -> list[HubError]:
        """One for each guest: the last, since a role may explain the one before it."""
        return list(self._failed.values())

    def play(self, playbook: str, guests: list[str], tags: tuple[str, ...], only: Mapping[str, list[str]]) -> None:
        import ansible_runner

        with _signals_kept(), process.environment() as whole:
            result = ansible_runner.interface.init_runner(
                private_data_dir=str(self._folder),
                project_dir=str(ROOT),
                playbook=f"playbooks/{playbook}",
                inventory=str(ROOT / "inventory" / "hosts"),
                limit=",".join(guests),
                tags=",".join(tags) or None,
                extravars={"stack_only": dict(only)} if only else None,
                envvars=self._environment(),
                event_handler=self._event,
                quiet=True,
            )
            mark = {reaper.MARK: whole[reaper.MARK]}
            result.config.env = {**_without_strangers(result.config.env), **mark}
            result.run()
            if result.status == "canceled":
                raise KeyboardInterrupt  # ansible-runner killed ansible-playbook, but none of its workers
        if result.status != "successful" and not self._failed:
            tail = "\n".join(result.stdout.read().strip().splitlines()[-_TAIL:])
            self._failed[""] = TaskFailed(f"ansible-playbook {playbook} ended {result.status}\n{tail}")

    def _environment(self) -> dict[str, str]:
        return {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner would turn it off, over the ssh_config's own word
            "ANSIBLE_LOCAL_TEMP": str(self._folder / "tmp"),
            "AIHUB_INVENTORY": str(self._folder / "inventory.json"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }

    def _event(self, event: dict[str, Any]) -> bool:
        """Takes one event in; False keeps ansible-runner from writing it to disk."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        guest = data.get("host", "")
        if kind == "runner_on_start":
            self._progress(guest, data.get("task", "").lower())
        elif kind == "runner_on_ok" and data.get("res", {}).get("changed"):
            self.changed[guest] = self.changed.get(guest, 0) + 1
        elif kind == "runner_on_failed" and not data.get("ignore_errors"):
            self._failed[guest] = TaskFailed(_reason(data), where=f"{guest}, {_task(data)}", hint="aihub up")
        elif kind == "runner_on_unreachable":
            reason = str(data.get("res", {}).get("msg", "did not answer"))
            self._failed[guest] = Unreachable(reason, where=f"{guest}, {_task(data)}", hint="aihub up")
        return False


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
    return "\n".join("\n".join(texts).splitlines()[-_TAIL:])
