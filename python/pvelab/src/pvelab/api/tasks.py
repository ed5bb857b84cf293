"""Tasks: UPIDs, worker threads, logs, and what is left of them after a restart."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

UPID = re.compile(
    r"UPID:([a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):"
    r"([^:\s/]+):([^:\s/]*):([^:\s/]+):"
)


@dataclass
class Task:
    """One task: running as long as `status` is None."""

    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    endtime: int | None = None
    status: str | None = None
    warnings: int = 0
    lines: list[str] | None = field(default=None, repr=False)  # None: to be read from its file
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    done: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status is None


def parse_upid(text: str) -> Task | None:
    """The task that a UPID names, None when it is no UPID."""
    found = UPID.fullmatch(text)
    if not found:
        return None
    node, pid, pstart, start, kind, ident, user = found.groups()
    return Task(text, node, int(pid, 16), int(pstart, 16), int(start, 16), kind, ident, user)


class Log:
    """Takes lines for a task's log; `warn` counts them as warnings."""

    def __init__(self, task: Task, path: Path) -> None:
        self.task = task
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", encoding="utf-8")

    def __call__(self, line: str) -> None:
        for part in line.rstrip("\n").split("\n"):
            if self.task.lines is not None:
                self.task.lines.append(part)
            self.file.write(part + "\n")
        self.file.flush()

    def warn(self, line: str) -> None:
        """A line that makes the task end with WARNINGS."""
        self.task.warnings += 1
        self(f"WARN: {line}")


class Tasks:
    """All tasks of the node: a journal of starts and ends, one log file each."""

    def __init__(self, root: Path, node: str) -> None:
        self.root, self.node = root, node
        self.lock = threading.Lock()
        self.count = 0
        self.boot = time.monotonic()
        self.all: dict[str, Task] = {}
        root.mkdir(parents=True, exist_ok=True)
        self._read_journal()
        self.journal = os.open(root / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _read_journal(self) -> None:
        path = self.root / "journal"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a killed server may be cut
            task = parse_upid(entry["upid"])
            if task and "status" not in entry:
                self.all[task.upid] = task
            elif task and task.upid in self.all:
                self.all[task.upid].status = entry["status"]
                self.all[task.upid].endtime = entry["end"]
        for task in self.all.values():
            if task.running:
                task.status, task.endtime = "unexpected status", task.starttime
            task.done.set()

    def _note(self, **entry: object) -> None:
        os.write(self.journal, (json.dumps(entry) + "\n").encode())
        os.fsync(self.journal)

    def log_path(self, task: Task) -> Path:
        """Where the log of a task is."""
        return self.root / task.upid[-2:-1] / task.upid.replace("/", "_")

    def start(self, kind: str, ident: object, user: str, work: Callable[[Log], object]) -> str:
        """Starts a task in a thread of its own and returns its UPID."""
        task = self._new(kind, str(ident), user)
        threading.Thread(target=self._run, args=(task, work), name=task.upid, daemon=True).start()
        return task.upid

    def _new(self, kind: str, ident: str, user: str) -> Task:
        with self.lock:
            self.count += 1
            pid = 1000 + (os.getpid() * 7 + self.count) % 4_000_000
            pstart = int((time.monotonic() - self.boot) * 100) + 4096 + self.count
            upid = f"UPID:{self.node}:{pid:08X}:{pstart:08X}:{int(time.time()):08X}:{kind}:{ident}:{user}:"
            task = Task(upid, self.node, pid, pstart, int(time.time()), kind, ident, user, lines=[])
            self._note(upid=upid)
            self.all[upid] = task
        return task

    def _run(self, task: Task, work: Callable[[Log], object]) -> None:
        log = Log(task, self.log_path(task))
        try:
            work(log)
            status = f"WARNINGS: {task.warnings}" if task.warnings else "OK"
            last = f"TASK {status}"
        except Exception as error:  # a refusal, a defect of ours, or a backend's own error: the task ends with its text
            status = " ".join((str(error).strip() or type(error).__name__).split("\n"))
            last = f"TASK ERROR: {status}"
        log(last)
        log.file.close()
        with self.lock:
            task.endtime = int(time.time())
            self._note(upid=task.upid, end=task.endtime, status=status)
            task.status = status
        task.done.set()

    def lines(self, task: Task) -> list[str]:
        """The log of a task."""
        if task.lines is not None:
            return task.lines
        path = self.log_path(task)
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def running_for(self, vmid: int, kinds: tuple[str, ...]) -> list[Task]:
        """Running tasks of some types for a guest."""
        found = [t for t in self.all.copy().values() if t.running and t.id == str(vmid) and t.type in kinds]
        return found
