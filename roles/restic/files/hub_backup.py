#!/usr/bin/python3 -I
"""hub-backup: copies what this guest keeps to its repository, and puts it back. Standard library and restic only.

`hub-backup all`            every instance of backup.json, each by its own unit
`hub-backup run STACK`      one of them; what it says in the end lies in STATE/STACK.json, too
`hub-backup aside STACK`     the same before something is put back: such a snapshot has the tag `aside`
`hub-backup last STACK`      the same before its data goes, also of one that backup.json has no more: what of it there
                           is to copy stands on standard input
`hub-backup need`           makes the repository where there is none
`hub-backup look`           whether the repository can be opened, or is still to be made
`hub-backup end STACK`      starts it again where a copy that was killed has left it stopped, and removes its lock
`hub-backup put STACK ID`   the volumes of a stopped instance become those of a snapshot
`hub-backup clear STACK ROLE`    what a consumer keeps at an instance is removed
`hub-backup load STACK ROLE ID`  it becomes that of a snapshot, where nothing is

Each snapshot has tags: whose data it is (STACK@GUEST, by ids), and `files`, `snapshot` or `dump:KIND:ROLE`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

CONFIG = os.environ.get("HUB_BACKUP_CONFIG", "/etc/hub/backup.json")
STATE = os.environ.get("HUB_BACKUP_STATE", "/var/lib/hub-backup")
CACHE = os.environ.get("HUB_BACKUP_CACHE", "/var/cache/hub-backup")
AGENT = "/usr/local/bin/hub-agent"
NO_REPOSITORY = 10  # restic's exit code for one that is not there
LOCKED = "35m"  # longer than the server takes to tidy up


class Failed(Exception):
    """Something did not end well; says what."""


class Repository:
    """This guest's own, by restic."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.tags: list[str] = []
        self._host = config["host"]
        self._command = ["restic", "--repo", config["repository"], "--password-file", config["password"]]
        self._command += ["--cacert", config["ca"], "--tls-client-cert", config["certificate"], "--cache-dir", CACHE]

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Runs restic; what it prints is kept."""
        command = [*self._command, *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **more)

    def need(self) -> None:
        """Makes the repository where there is none, and removes locks that nobody holds any more. Raises Failed."""
        found = self.run("cat", "config")
        if is_missing(found):
            checked("make the repository", self.run("init"))
        else:
            checked("open the repository", found)
        checked("remove stale locks", self.run("unlock"))

    def keep(self, whose: str, sort: str, *what: str, folder: str = "/") -> dict[str, Any]:
        """Makes a snapshot, and gives its id, files and bytes. Raises Failed."""
        tags = [word for tag in (whose, sort, *self.tags) for word in ("--tag", tag)] + ["--host", self._host]
        done = self.run("--json", "--retry-lock", LOCKED, "backup", *tags, *what, cwd=folder)
        checked(f"copy {sort}", done)
        for line in done.stdout.splitlines()[::-1]:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said.get("message_type") == "summary":
                    files, size = said["total_files_processed"], said["total_bytes_processed"]
                    return {"id": said["snapshot_id"], "sort": sort, "of": whose, "files": files, "bytes": size}
        raise Failed(f"copy {sort}: restic says nothing of a snapshot")

    def restore(self, snapshot: str, target: str) -> None:
        """Writes a snapshot's files below a folder, and compares them. Raises Failed."""
        checked("restore", self.run("restore", snapshot, "--target", target, "--verify", "--retry-lock", LOCKED))

    def pipe(self, snapshot: str, path: str, command: list[str]) -> None:
        """Gives one file of a snapshot to a command. Raises Failed where either of them fails."""
        source = subprocess.Popen(
            [*self._command, "--retry-lock", LOCKED, "dump", snapshot, path], stdout=subprocess.PIPE
        )
        done = subprocess.run(command, stdin=source.stdout, capture_output=True, check=False)
        if source.stdout:
            source.stdout.close()
        if source.wait():
            raise Failed(f"restic reads nothing whole from {snapshot}")
        checked(command[-2], done)


def checked(what: str, done: subprocess.CompletedProcess[bytes]) -> None:
    """Raises Failed with what a command said last, where it ended with another exit code than 0."""
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-5:]
        raise Failed(f"{what}: exit code {done.returncode}: {' | '.join(said)[-1000:]}")


class Copier:
    """What this guest copies, and how."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._repository = Repository(config)

    def need(self) -> None:
        """Makes the repository where there is none. Raises Failed."""
        self._repository.need()

    def end(self, stack: str) -> None:
        """After a run: what it left stopped starts, and what was killed holds nobody up for half an hour. Raises Failed."""
        end(self.instance(stack))
        if os.environ.get("SERVICE_RESULT") in ("signal", "core-dump", "oom-kill", "timeout", "watchdog"):
            self._repository.run("unlock")

    def look(self) -> None:
        """Raises Failed where the repository can't be opened; one that is still to be made is fine."""
        found = self._repository.run("--no-lock", "cat", "config")
        if not is_missing(found):
            checked("open the repository", found)

    def mark(self, tag: str) -> None:
        """What is copied from now on has this tag, too."""
        self._repository.tags.append(tag)

    def instance(self, stack: str) -> dict[str, Any]:
        """What backup.json says of an instance. Raises Failed."""
        for one in self._config["instances"]:
            if one["stack"] == stack:
                return dict(one)
        raise Failed(f"{stack} keeps nothing here that is copied")

    def last(self, stack: str, left: dict[str, Any]) -> None:
        """Copies what is about to go: as ever where it is declared, else what `left` says. Raises Failed."""
        if left["folder"] and any(one["stack"] == stack for one in self._config["instances"]):
            errors = self.run(stack)["errors"]
        else:
            volumes = [path for path in folders(left["folder"]) if os.path.basename(path) not in left["skip"]]
            here = {"id": left["id"], "volumes": volumes, "stopped": False, "snapshot": False, "dumps": left["dumps"]}
            errors = self._copied(here, {}, [])
        if errors:
            raise Failed("; ".join(errors))

    def run(self, stack: str) -> dict[str, Any]:
        """Copies all that an instance keeps; raises nothing, what went wrong stands in the result."""
        began = time.time()
        made: list[dict[str, Any]] = []
        before = last(stack)
        errors = self._copied(self.instance(stack), before, made)
        result = {"began": began, "ended": time.time(), "errors": errors, "made": made}
        # What is right now and what was right last: an empty volume is only told from a full one by it.
        whole = before.get("whole", {}) if errors else {"at": began, "files": sum(m["files"] for m in made)}
        save(stack, {**result, "whole": whole})
        return result

    def _copied(self, one: dict[str, Any], before: dict[str, Any], made: list[dict[str, Any]]) -> list[str]:
        """Copies what there is of one instance, adds to `made`, and gives the errors."""
        errors: list[str] = []
        try:
            self._repository.need()
            for dump in one["dumps"]:
                with noted(errors):
                    made.append(self._dump(dump))
            if one["snapshot"]:
                with noted(errors):
                    made.append(
                        self._repository.keep(one["id"], "snapshot", *from_command("snapshot", [AGENT, "snapshot"]))
                    )
            if one["volumes"]:
                with noted(errors):
                    made.append(self._files(one, before))
        except Failed as error:
            errors.append(str(error))
        return errors

    def _dump(self, dump: dict[str, Any]) -> dict[str, Any]:
        sort = f"dump:{dump['kind']}:{dump['role']}"
        return self._repository.keep(dump["id"], sort, *from_command(dump["role"], dump["dump"]))

    def _files(self, one: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        empty = [volume for volume in one["volumes"] if not os.listdir(volume)]
        if len(empty) == len(one["volumes"]) and before.get("whole", {}).get("files"):
            had = before["whole"]["files"]
            raise Failed(f"{', '.join(empty)} is empty, and had {had} files: nothing is copied until it is not")
        with halted(one) if one["stopped"] else contextlib.nullcontext():
            return self._repository.keep(one["id"], "files", *one["volumes"])

    def put(self, stack: str, snapshot: str) -> None:
        """The volumes of a stopped instance become those of a snapshot, all or none. Raises Failed."""
        one = self.instance(stack)
        if active(one["unit"]):
            raise Failed(f"{one['unit']} runs")
        aside = f"{os.path.dirname(one['volumes'][0])}/.restored"
        shutil.rmtree(aside, ignore_errors=True)
        os.mkdir(aside, 0o700)
        try:
            self._repository.restore(snapshot, aside)
            for volume in one["volumes"]:
                if not os.path.isdir(f"{aside}{volume}"):
                    raise Failed(f"the snapshot {snapshot} has no {volume}")
            for volume in one["volumes"]:
                replaced = f"{aside}/replaced-{os.path.basename(volume)}"
                if os.path.isdir(volume):
                    os.rename(volume, replaced)
                os.rename(f"{aside}{volume}", volume)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def clear(self, stack: str, role: str) -> None:
        """What a consumer keeps at an instance is removed. Raises Failed."""
        checked(f"clear {role}", subprocess.run(self._dumped(stack, role)["clear"], capture_output=True, check=False))

    def load(self, stack: str, role: str, snapshot: str) -> None:
        """What a consumer keeps at an instance becomes that of a snapshot, where nothing is. Raises Failed."""
        self._repository.pipe(snapshot, f"/{role}", self._dumped(stack, role)["restore"])

    def _dumped(self, stack: str, role: str) -> dict[str, Any]:
        for dump in self.instance(stack)["dumps"]:
            if dump["role"] == role:
                return dict(dump)
        raise Failed(f"{role} keeps nothing at {stack} that is copied")


def folders(path: str) -> list[str]:
    """The volumes in an instance's folder; none where no folder is asked about, or there is none."""
    found = sorted(os.scandir(path), key=lambda one: one.name) if os.path.isdir(path) else []
    return [one.path for one in found if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]


def is_missing(found: subprocess.CompletedProcess[bytes]) -> bool:
    """Whether restic says that there is no repository; before 0.17 it has no exit code of its own for that."""
    return found.returncode == NO_REPOSITORY or b"Is there a repository at the following location" in found.stderr


def from_command(name: str, command: list[str]) -> list[str]:
    """How restic keeps what a command writes; nothing, where the command fails."""
    return ["--stdin-from-command", "--stdin-filename", f"/{name}", "--", *command]


@contextlib.contextmanager
def noted(errors: list[str]) -> Iterator[None]:
    """One part that fails keeps no other from being copied."""
    try:
        yield
    except Failed as error:
        errors.append(str(error))


@contextlib.contextmanager
def halted(one: dict[str, Any]) -> Iterator[None]:
    """An instance that is stopped meanwhile, if it ran; written down, since this program may be killed."""
    if not active(one["unit"]):
        yield
        return
    with open(f"{STATE}/{one['stack']}.stopped", "w"):
        pass
    try:
        control("stop", one["unit"])
        yield
    finally:
        end(one)


def end(one: dict[str, Any]) -> None:
    """An instance that was stopped for a copy runs again. Raises Failed."""
    path = f"{STATE}/{one['stack']}.stopped"
    if os.path.exists(path):
        control("start", one["unit"])
        os.unlink(path)


def control(action: str, unit: str) -> None:
    """Has systemd stop or start a unit. Raises Failed."""
    done = subprocess.run(["systemctl", action, unit], capture_output=True, check=False)
    if done.returncode:
        raise Failed(f"systemctl {action} {unit}: {done.stderr.decode(errors='replace').strip()[-500:]}")


def active(unit: str) -> bool:
    """Whether a unit runs."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def last(stack: str) -> dict[str, Any]:
    """How the last run ended; empty before the first."""
    try:
        with open(f"{STATE}/{stack}.json") as handle:
            return dict(json.load(handle))
    except (OSError, ValueError):
        return {}


def save(stack: str, result: dict[str, Any]) -> None:
    """Writes down how a run ended."""
    with open(f"{STATE}/{stack}.json.new", "w") as handle:
        json.dump(result, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(f"{STATE}/{stack}.json.new", f"{STATE}/{stack}.json")


@contextlib.contextmanager
def alone(stack: str) -> Iterator[None]:
    """One at a time copies or restores an instance. Raises Failed."""
    os.makedirs(STATE, mode=0o700, exist_ok=True)
    with open(f"{STATE}/{stack}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Failed(f"{stack} is being copied or restored already") from error
        yield


def everything(config: dict[str, Any]) -> int:
    """Each instance by its own unit, one after the other; 1 where one failed."""
    units = [f"hub-backup@{one['stack']}.service" for one in config["instances"]]
    codes = [subprocess.run(["systemctl", "start", unit], check=False).returncode for unit in units]
    return 1 if any(codes) else 0


def main() -> int:
    """Runs the command that is asked for."""
    os.umask(0o077)
    with open(CONFIG) as handle:
        config: dict[str, Any] = json.load(handle)
    copier, (verb, *words) = Copier(config), sys.argv[1:]
    try:
        if verb == "all":
            return everything(config)
        if verb in ("look", "need"):
            (copier.look if verb == "look" else copier.need)()
            return 0
        with alone(words[0]):
            if verb in ("run", "aside"):
                if verb == "aside":
                    copier.mark(verb)
                if errors := copier.run(words[0])["errors"]:
                    raise Failed("; ".join(errors))
            if verb == "last":
                copier.last(words[0], json.load(sys.stdin))
            if verb == "end":
                copier.end(words[0])
            elif verb == "put":
                copier.put(*words)
            elif verb == "clear":
                copier.clear(*words)
            elif verb == "load":
                copier.load(*words)
    except (Failed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
