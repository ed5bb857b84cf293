#!/usr/bin/python3 -I
"""hub-agent: brings a guest's secrets and certificates from Vault to files in memory. Standard library only.

`hub-agent run`    logs in with the guest's own AppRole, keeps /run/hub/STACK as agent.json says, and restarts or
                   reloads exactly what depends on a change. SIGHUP: read everything now.
`hub-agent unwrap` takes two lines on standard input, the token of a wrapped secret-id and the role-id that goes with
                   it; unwraps it once, proves both by a login and keeps them. Exit code 3 is an alarm: somebody else
                   has unwrapped it, or it was made for something else.
`hub-agent snapshot` logs in as the guest and writes the store's own snapshot to standard output, where its policy
                   lets it.

Each file is replaced by a rename; what must be read together (a user and its password, a key and its certificate) is
one file. Vault away or sealed: what is there stays, and status.json says so. No value is ever printed or put into
status.json.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, BinaryIO
from urllib.parse import urlsplit

CONFIG = os.environ.get("HUB_AGENT_CONFIG", "/etc/hub/agent.json")
SECRET_ID = os.environ.get("HUB_AGENT_SECRET_ID", "/etc/hub/agent/secret-id")
ROLE_ID = os.path.join(os.path.dirname(SECRET_ID), "role-id")
RUN = os.environ.get("HUB_AGENT_RUN", "/run/hub")
EVERY = 300.0  # seconds between two readings that nobody asked for
RETRY = (1.0, 15.0)  # seconds until the next try after a failure: at first, at most
ALARM = 3
MOUNT = "kv"


class Away(Exception):
    """Vault does not answer, or is sealed."""


class RequestRefused(Exception):
    """Vault answered with a refusal, or without something that belongs into its answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Connection(http.client.HTTPSConnection):
    """HTTPS to an address, from an address, whose certificate must be that of a name."""

    def __init__(self, to: str, source: str, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=10, context=context)
        self._to, self._from, self._trust = to, source, context

    def connect(self) -> None:
        """Opens the connection. Raises OSError."""
        plain = socket.create_connection((self._to, self.port), 10, source_address=(self._from, 0))
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)


class VaultSession:
    """One connection; every call is one request. It goes to an address, so that no name server is needed."""

    def __init__(self, config: dict[str, Any]) -> None:
        parts = urlsplit(config["vault"])
        context = ssl.create_default_context(cafile=config["ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        name, port = parts.hostname or "", parts.port or 8200
        self._connection = Connection(config["address"], config["source"], name, port, context)
        self.token = ""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> dict[str, Any]:
        """The answer's JSON. Raises Away and RequestRefused."""
        headers = {"X-Vault-Request": "true", "Content-Type": "application/json"}
        if token or self.token:
            headers["X-Vault-Token"] = token or self.token
        try:
            self._connection.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Away(f"no answer from Vault: {error}") from error
        if answer.status in (429, 500, 502, 503):
            raise Away("Vault is sealed" if answer.status == 503 else f"Vault answers {answer.status}")
        try:
            found: dict[str, Any] = json.loads(text) if text else {}
        except ValueError as error:
            raise Away("the answer is not Vault's") from error
        if not isinstance(found, dict):
            raise Away("the answer is not Vault's")
        if answer.status >= 300:
            raise RequestRefused(
                answer.status, f"{path}: {'; '.join(map(str, found.get('errors') or [])) or answer.status}"
            )
        return found

    def download(self, path: str, target: BinaryIO) -> None:
        """Writes an answer as it comes. Raises Away and RequestRefused, also for one that is cut off."""
        try:
            self._connection.request("GET", f"/v1/{path}", None, {"X-Vault-Token": self.token})
            answer = self._connection.getresponse()
            if answer.status != 200:
                raise RequestRefused(answer.status, f"{path}: {answer.status}")
            shutil.copyfileobj(answer, target)
            if answer.length:
                raise Away(f"{path}: the answer was cut off")
        except (OSError, http.client.HTTPException) as error:
            raise Away(f"{path}: {error}") from error
        finally:
            self._connection.close()

    def end(self, token: str) -> None:
        """Ends a token of ours: a copy is worth nothing then. Fine where it has ended, or ends later by its age."""
        with contextlib.suppress(RequestRefused, Away):
            self.call("POST", "auth/token/revoke-self", token=token)

    def close(self) -> None:
        self._connection.close()


class Agent:
    """What this guest has, wants and was told."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.vault = VaultSession(config)
        self.login_again = 0.0
        self.status = self._recalled()

    def _recalled(self) -> dict[str, Any]:
        empty: dict[str, Any] = {
            "login": {"ok": False, "error": "", "since": ""},
            "entries": {},
            "tls": {},
            "errors": [],
        }
        try:
            with open(f"{RUN}/agent/status.json") as handle:
                return {**empty, **json.load(handle)}
        except (OSError, ValueError):
            return empty

    def cycle(self) -> bool:
        """Reads everything and applies what changed; False when something is to be tried again soon."""
        errors: list[str] = []
        try:
            self._login()
            for instance in self.config["instances"]:
                try:
                    errors += self._instance(instance)
                except OSError as error:
                    errors.append(f"{instance['stack']}: {error}")
        except (Away, RequestRefused) as error:
            errors.append(str(error))
        self.vault.close()
        self.status["errors"] = errors
        self.save()
        return not errors

    def snapshot(self, target: BinaryIO) -> None:
        """Writes the store's snapshot, with a login that ends with it. Raises Away and RequestRefused."""
        self._login()
        try:
            self.vault.download("sys/storage/raft/snapshot", target)
        finally:
            self.vault.end(self.vault.token)

    def _login(self) -> None:
        if self.vault.token and time.monotonic() < self.login_again:
            return
        old, self.vault.token = self.vault.token, ""
        role_id, secret_id = known(ROLE_ID), known(SECRET_ID)
        try:
            if not role_id or not secret_id:
                raise RequestRefused(400, "there is no secret-id yet: aihub up")
            path = "auth/approle/login"
            answer = self.vault.call("POST", path, {"role_id": role_id, "secret_id": secret_id})
            token = text_in(answer, path, "auth", "client_token")
            seconds = within(answer, path, "auth", "lease_duration")
        except (Away, RequestRefused) as error:
            self._logged_in(False, str(error))
            raise
        self.vault.token = token
        self.login_again = time.monotonic() + seconds * 2 / 3
        self._logged_in(True, "")
        if old:
            self.vault.end(old)

    def _logged_in(self, ok: bool, error: str) -> None:
        if (self.status["login"]["ok"], self.status["login"]["error"]) != (ok, error):
            self.status["login"] = {"ok": ok, "error": error, "since": now().isoformat(timespec="seconds")}

    def _instance(self, instance: dict[str, Any]) -> list[str]:
        """Brings one instance's files up to date; the errors that are left.

        Whatever is wrong with an answer, the files that it would have made stay as they are, all of one entry together.
        """
        folder, errors = f"{RUN}/{instance['stack']}", []
        wanted = {"ca.pem": self._authority()}
        versions: dict[str, int] = {}
        for entry in instance["entries"]:
            path, files = entry["path"], entry["files"]
            try:
                found = self.vault.call("GET", f"{MOUNT}/data/{path}")
                values = {name: filled(text, found, path) for name, text in files.items()}
                versions[path] = within(found, path, "data", "metadata", "version")
                wanted.update(values)
            except RequestRefused as error:
                if entry.get("given") and error.status == 404:
                    # Nobody gave it yet, or it was taken back: it is waited for, and its file goes.
                    self.status["entries"][path] = {"version": 0, "applied": 0}
                    continue
                self._forget_token(error)
                errors.append(str(error))
                wanted.update(kept(folder, files))
        for certificate in instance["certificates"]:
            try:
                wanted.update(self._certificate(certificate, folder))
            except RequestRefused as error:
                self._forget_token(error)
                errors.append(str(error))
                wanted.update(kept(folder, [certificate["file"]]))
        render(folder, instance["uid"], wanted)
        errors += self._apply(instance, versions)
        return errors

    def _forget_token(self, error: RequestRefused) -> None:
        # A token may have been revoked, or given by policies that have changed since.
        if error.status == 403:
            self.login_again = 0.0

    def _certificate(self, wanted: dict[str, Any], folder: str) -> dict[str, str]:
        """Key, certificate and chain in one file, since they change together."""
        known, file = wanted["id"], wanted["file"]
        files = kept(folder, [file])
        have = self.status["tls"].get(known)
        flag = f"{RUN}/agent/renew/{known}"
        due = not have or have["name"] != wanted["name"] or file not in files or os.path.exists(flag)
        if have and not due:
            due = now().timestamp() >= have["issued"] + (have["not_after"] - have["issued"]) * 2 / 3
        if not due:
            return files
        issued, path = now().timestamp(), f"pki/issue/{wanted['role']}"
        answer = self.vault.call("POST", path, {"common_name": wanted["name"]})
        chain = [text_in(answer, path, "data", key) for key in ("private_key", "certificate")]
        chain += within(answer, path, "data").get("ca_chain") or ()
        self.status["tls"][known] = {
            "name": wanted["name"],
            "serial": text_in(answer, path, "data", "serial_number"),
            "issued": issued,
            "not_after": float(within(answer, path, "data", "expiration")),
            "applied": "",
        }
        with contextlib.suppress(FileNotFoundError):
            os.unlink(flag)
        return {file: "".join(f"{part.strip()}\n" for part in chain)}

    def _authority(self) -> str:
        with open(self.config["ca"]) as handle:
            return handle.read()

    def _apply(self, instance: dict[str, Any], versions: dict[str, int]) -> list[str]:
        """Tells the service of what is new for it; an instance that does not run reads it when it starts."""
        entries = self.status["entries"]
        certificates = [(one, self.status["tls"].get(one["id"])) for one in instance["certificates"]]
        first = {path for path in versions if path not in entries}
        orders = set()
        for entry in instance["entries"]:
            path = entry["path"]
            if path in versions:
                entries.setdefault(path, {"version": 0, "applied": 0})["version"] = versions[path]
                # What comes later than its reader's start is news to it; the rest it finds when it starts.
                if entries[path]["applied"] != versions[path] and (entry["later"] or path not in first):
                    orders.add(entry["on_change"])
        orders |= {one["on_change"] for one, have in certificates if have and have["applied"] != have["serial"]}
        errors = self._order(instance, orders) if orders - {"none"} else []
        if not errors:
            for path, version in versions.items():
                entries[path]["applied"] = version
            for have in (have for _, have in certificates if have):
                have["applied"] = have["serial"]
        return errors

    def _order(self, instance: dict[str, Any], orders: set[str]) -> list[str]:
        self.save()
        if "units" in instance:
            return self._run(instance, ["systemctl", "try-reload-or-restart", *instance["units"]])
        unit, home, reload = instance["restart"], f"/opt/hub/{instance['stack']}", instance.get("reload")
        if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode != 0:
            return []  # waits for its files: it starts with the new ones
        compose = ["docker", "compose", "--project-directory", home]
        if "restart" in orders or not reload:
            command = ["systemctl", "restart", unit]
        elif reload.get("signal"):
            command = [*compose, "kill", "--signal", reload["signal"], reload["service"]]
        else:
            command = [*compose, "exec", "--no-TTY", reload["service"], *reload["exec"]]
        return self._run(instance, command)

    def _run(self, instance: dict[str, Any], command: list[str]) -> list[str]:
        say(f"{instance['stack']}: {' '.join(command)}")
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [f"{instance['stack']}: {type(error).__name__} in {command[0]}"]
        return [] if done.returncode == 0 else [f"{instance['stack']}: {' '.join(command)} ended {done.returncode}"]

    def save(self) -> None:
        """Writes status.json: versions, times and errors."""
        os.makedirs(f"{RUN}/agent/renew", mode=0o700, exist_ok=True)
        instances = self.config["instances"]
        for kind, known in (
            ("entries", {entry["path"] for instance in instances for entry in instance["entries"]}),
            ("tls", {one["id"] for instance in instances for one in instance["certificates"]}),
        ):
            self.status[kind] = {name: value for name, value in self.status[kind].items() if name in known}
        replace(f"{RUN}/agent/status.json", json.dumps(self.status, indent=1, sort_keys=True))


def within(answer: Any, path: str, *keys: str) -> Any:
    """What an answer has below some keys. Raises RequestRefused when one is not there; `path` is what was asked for."""
    for key in keys:
        if not isinstance(answer, dict) or answer.get(key) is None:
            raise RequestRefused(200, f"{path} has no {key}")
        answer = answer[key]
    return answer


def text_in(answer: Any, path: str, *keys: str) -> str:
    """A text that an answer has below some keys. Raises RequestRefused when there is none."""
    found = within(answer, path, *keys)
    if not isinstance(found, str):
        raise RequestRefused(200, f"{path}: {keys[-1]} is no text")
    return found


def filled(text: str, answer: Any, path: str) -> str:
    """A file's text with the values of a secret's keys. Raises RequestRefused when one is not there."""
    return re.sub(r"\{(\w+)\}", lambda found: text_in(answer, path, "data", "data", found[1]), text)


def render(folder: str, uid: int, wanted: dict[str, str]) -> None:
    """Makes the files of an instance, and no others, its owner's alone."""
    os.makedirs(folder, exist_ok=True)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    own(here, uid, 0o500)
    os.close(here)
    have = kept(folder, wanted)
    for name, value in wanted.items():
        path = f"{folder}/{name}"
        if have.get(name) == value and in_order(path, uid):
            continue
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/.new")
        with os.fdopen(os.open(f"{folder}/.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(value)
            own(handle.fileno(), uid, 0o400)
        os.rename(f"{folder}/.new", path)
    for name in os.listdir(folder):
        if name not in wanted:
            os.unlink(f"{folder}/{name}")


def kept(folder: str, names: Iterable[str]) -> dict[str, str]:
    """What the named files hold now; nothing for those that are missing. Raises OSError for one that can't be read."""
    found = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/{name}", opener=no_link) as handle:
            found[name] = handle.read()
    return found


def no_link(path: str, flags: int) -> int:
    """Opens a file of a folder that is its service's: no link is followed, and no pipe is waited for."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(path) from error  # it is replaced
        raise


def in_order(path: str, uid: int) -> bool:
    """Whether a file is its owner's alone."""
    found = os.lstat(path)
    return stat.S_IMODE(found.st_mode) == 0o400 and (found.st_uid, found.st_gid) == (uid, uid)


def own(handle: int, uid: int, mode: int) -> None:
    """Sets owner and mode of what is open: a name may stand for something else by now."""
    os.fchown(handle, uid, uid)
    os.fchmod(handle, mode)


def require_memory(path: str) -> None:
    """Ends the program when a directory is on a disk."""
    with open("/proc/mounts") as handle:
        mounts = [line.split()[1:3] for line in handle]
    inside = [(point, kind) for point, kind in mounts if f"{path}/".startswith(point.rstrip("/") + "/")]
    # Of two on one point the later is what is seen.
    if max(reversed(inside), key=lambda one: len(one[0]))[1] not in ("tmpfs", "ramfs"):
        sys.exit(f"{path} is not in memory: secrets are not written to disks")


def replace(path: str, text: str) -> None:
    """Replaces a file of root's own in one step, safe against a power cut."""
    with os.fdopen(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(f"{path}.new", path)


def now() -> datetime:
    return datetime.now(timezone.utc)  # noqa: UP017  (guests may have an older Python than the controller)


def say(text: str) -> None:
    """One line for the journal."""
    print(text, flush=True)  # noqa: T201


def run(config: dict[str, Any]) -> None:
    """The loop; ends with SIGTERM."""
    agent, wait, asked = Agent(config), RETRY[0], False

    def hang_up(_signal: int, _frame: Any) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGHUP, hang_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    told = ""
    while True:
        asked = False
        fine = agent.cycle()
        if (text := "; ".join(agent.status["errors"])) != told:
            told = text
            say(text or "everything is up to date")
        wait = RETRY[0] if fine else min(wait * 2, RETRY[1])
        until = time.monotonic() + (EVERY if fine else wait)
        while time.monotonic() < until and not asked:
            time.sleep(0.2)


def known(path: str) -> str:
    """One half of our login; empty while we have none."""
    try:
        with open(path) as handle:
            return handle.read().strip()
    except OSError:
        return ""


def unwrap(config: dict[str, Any], token: str, role_id: str) -> int:
    """Keeps the secret-id behind a wrapping token, and its role-id; prints its accessor as JSON."""
    vault = VaultSession(config)
    expected = f"auth/approle/role/{config['role']}/secret-id"
    try:
        made_for = vault.call("POST", "sys/wrapping/lookup", {"token": token})["data"]["creation_path"]
        if made_for != expected:
            sys.stderr.write(f"alarm: the wrapped answer was made for {made_for}, not for {expected}\n")
            return ALARM
        data = vault.call("POST", "sys/wrapping/unwrap", token=token)["data"]
    except RequestRefused:
        sys.stderr.write("alarm: the wrapped secret-id is gone: somebody else has unwrapped it, or it came too late\n")
        return ALARM
    path, body = "auth/approle/login", {"role_id": role_id, "secret_id": data["secret_id"]}
    proof = vault.call("POST", path, body)  # before what works is replaced
    vault.end(text_in(proof, path, "auth", "client_token"))
    os.makedirs(os.path.dirname(SECRET_ID), mode=0o700, exist_ok=True)
    for file, value in ((ROLE_ID, role_id), (SECRET_ID, data["secret_id"])):
        replace(file, value)
        os.chmod(file, 0o400)
    print(json.dumps({"accessor": data["secret_id_accessor"]}))  # noqa: T201
    return 0


def main() -> int:
    """Runs the command that is asked for."""
    with open(CONFIG) as handle:
        config: dict[str, Any] = json.load(handle)
    if sys.argv[1:] == ["unwrap"]:
        try:
            token, role_id = sys.stdin.read().split()
            return unwrap(config, token, role_id)
        except (Away, RequestRefused) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    if sys.argv[1:] == ["snapshot"]:
        try:
            Agent(config).snapshot(sys.stdout.buffer)
        except (Away, RequestRefused) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0
    os.umask(0o077)
    require_memory(os.path.realpath(RUN))
    run(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
