"""A hub of real processes on loopback, for tests of rotation.

OpenBao, PostgreSQL and Redis over TLS with the stacks' own configuration, the agents of all guests, and probers that
log in every 50 ms with what the consumer's files say. Debian's PostgreSQL and Redis stand in for those of the images:
PostgreSQL 15 has no `createrole_self_grant`, pgvector or TimescaleDB, so the lines about them are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from aihub.errors import TaskFailed
from aihub.model.resolved import Hub, Instance, Pair, SecretRef
from aihub.render import agent as given
from aihub.secrets import agent, enrol
from aihub.secrets import store as secretstore
from aihub.secrets.rotation import catalog, pairs, records
from aihub.secrets.rotation.systems import Systems
from aihub.services import service as services
from aihub.services.road import Road
from aihub.services.service import Service
from aihub.state.directory import State
from aihub.vault.client import Vault, operator

from . import local_vault, rotation_services
from .local_vault import Server, _Forward, _free_port, in_memory
from .rotation_services import UID

AGENT = Path(agent.__file__).parent / "on_guest.py"
# The real program; only its pauses are shorter.
QUICK = "import runpy,sys,time; s=time.sleep; time.sleep=lambda t: s(min(t,.01)); sys.argv=sys.argv[1:]; "
QUICK += "runpy.run_path(sys.argv[0], run_name='__main__')"
POSTGRES, REDIS = "notes@private-ai/postgres_main", "notes@private-ai/redis_jobs"
PAIRS = (POSTGRES, REDIS, "postgres@db/reconcile", "redis@db/reconcile")


@dataclass
class Facts:
    """What another process must know to work with the same world."""

    home: str
    vault_socket: str
    redis_socket: str
    postgres_port: int
    agents: dict[str, int]

    def run(self, guest: str) -> Path:
        return Path(self.home, guest, "run")

    @property
    def state(self) -> State:
        return State(Path(self.home, "vault", "state"))

    @property
    def road(self) -> Road:
        """Redis is asked for its socket, PostgreSQL for its port."""
        return Road(lambda: nullcontext(Path(self.redis_socket)), lambda: nullcontext(self.postgres_port))


def status(facts: Facts, guest: str) -> agent.Status:
    """What a guest's agent says."""
    path = facts.run(guest) / "agent" / "status.json"
    return agent.Status.of(guest, json.loads(path.read_text()) if path.exists() else None)


def reach(facts: Facts, hub: Hub, vault: Vault, patience: float = 10.0, grace: float = 0.05) -> Systems:
    """The world as a rotation needs it: no ssh between."""

    @contextmanager
    def service(instance: Instance) -> Iterator[Service]:
        yield Service(hub, instance, vault, facts.state.ca, facts.road)

    def wait(guest: str, versions: Mapping[str, int]) -> None:
        limit = time.monotonic() + patience
        if not status(facts, guest).behind(versions):
            return
        os.kill(facts.agents[guest], signal.SIGHUP)
        while behind := status(facts, guest).behind(versions):
            if time.monotonic() > limit:
                raise TaskFailed(f"not yet in use: {', '.join(behind)}", where=guest, hint="aihub up")
            time.sleep(0.01)

    def serial(guest: str, place: str) -> str:
        return str(status(facts, guest).tls[place]["serial"])

    def renew(guest: str, place: str) -> None:
        old = serial(guest, place)
        (facts.run(guest) / "agent" / "renew" / place).touch()
        os.kill(facts.agents[guest], signal.SIGHUP)
        limit = time.monotonic() + patience
        while (now := status(facts, guest).tls[place])["serial"] == old or now["applied"] != now["serial"]:
            assert time.monotonic() < limit
            time.sleep(0.01)

    return Systems(hub, facts.state, vault, service, wait, serial, renew, grace)


@dataclass
class World:
    """Everything that runs, and how it is looked at."""

    driver: ClassVar = "tests.vault.rotation_driver"
    acts: ClassVar = ""  # what a guest's systemctl and docker do beside writing down that they were called

    home: Path
    server: Server
    vault: Vault
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    forwards: list[Any] = field(default_factory=list)
    facts: Facts = field(init=False)
    seen: dict[str, set[str]] = field(default_factory=dict)  # passwords that may still open something
    retired: dict[str, set[str]] = field(default_factory=dict)  # those that were refused at least once
    told: set[str] = field(default_factory=set)

    @property
    def hub(self) -> Hub:
        return self.server.hub

    # -- making it

    def start(self) -> None:
        ports = {"postgres": _free_port(), "redis": _free_port()}
        secretstore.ensure(self.hub, self.vault)
        for guest in self.hub.agents:
            self.guest(guest)
        path = self.front("redis", ports["redis"])
        agents = {guest: self.processes[guest].pid for guest in self.hub.agents}
        self.facts = Facts(str(self.home), str(self.server.forward()), str(path), ports["postgres"], agents)
        run = self.facts.run("db")
        rotation_services.postgres(self, self.home / "postgres", run / "postgres", ports["postgres"])
        rotation_services.redis(self, self.home / "redis", run / "redis", ports["redis"])
        for name, kind in (("prober-postgres", "postgres_main"), ("prober-redis", "redis_jobs")):
            self._prober(name, kind, ports[kind.partition("_")[0]])
        eventually(lambda: min(self.logins()) > 0)

    def front(self, stack: str, port: int) -> Path:
        """A unix socket that leads to a port."""
        path = self.home / f"{stack}.sock"
        front = _Forward(str(path), SimpleNamespace(port=port), "127.0.0.1")  # type: ignore[arg-type]
        self.server.forwards.append(front)
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return path

    def guest(self, guest: str, without: str = "") -> None:
        """Its agent runs, and has brought all that the vault holds; `without` is a path that it does not hold yet."""
        home = self.home / guest
        (home / "bin").mkdir(parents=True)
        in_memory(home / "run")
        config = given.config(self.hub, guest)
        config["vault"] = f"https://{self.server.name}:{self.server.port}"
        config["ca"] = str(self.server.state.ca)
        for instance in config["instances"]:
            instance["uid"] = UID
        (home / "agent.json").write_text(json.dumps(config))
        for name in ("systemctl", "docker"):
            script = home / "bin" / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> {home}/calls\n{self.acts}')
            script.chmod(0o755)
        environment = {
            "PATH": f"{home}/bin:/usr/bin:/bin", "HUB_AGENT_CONFIG": f"{home}/agent.json",
            "HUB_AGENT_SECRET_ID": f"{home}/secret-id", "HUB_AGENT_RUN": f"{home}/run",
        }  # fmt: skip

        def unwrap(_guest: str, token: bytes) -> int:
            argv = [sys.executable, str(AGENT), "unwrap"]
            return subprocess.run(argv, input=token, env=environment, stdout=subprocess.DEVNULL, check=False).returncode

        enrol.enrol(self.hub, self.server.state, self.vault, guest, hand=unwrap)
        argv = [sys.executable, "-c", QUICK, str(AGENT), "run"]
        self.begin(guest, argv, env=environment)
        eventually(lambda: (home / "run" / "agent" / "status.json").exists() and self.content(guest, without))

    def content(self, guest: str, without: str = "") -> bool:
        """Whether its agent misses nothing else."""
        says = json.loads((self.home / guest / "run" / "agent" / "status.json").read_text())
        return says["login"]["ok"] and all(without and without in error for error in says["errors"])

    def _prober(self, name: str, kind: str, port: int) -> None:
        login = self.facts.run("private-ai") / "notes" / f"{kind}_login"
        argv = [sys.executable, str(Path(__file__).with_name("prober.py")), kind.partition("_")[0], str(login)]
        server = self.hub.guests["db"].fqdn
        self.begin(name, [*argv, str(port), str(self.server.state.ca), server, str(self.home / f"{name}.log")])

    def begin(self, name: str, argv: list[Any], **more: Any) -> None:
        with (self.home / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(20)

    def close(self) -> None:
        for name in list(self.processes)[::-1]:
            self.end(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)

    @contextmanager
    def stopped(self, guest: str) -> Iterator[None]:
        """An agent that does nothing for a while."""
        process = self.processes[guest]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    @contextmanager
    def slow(self, guest: str = "private-ai") -> Iterator[None]:
        """A consumer whose agent is late by most of a second, again and again."""
        over = threading.Event()

        def pause() -> None:
            while not over.is_set():
                with self.stopped(guest):
                    over.wait(0.8)
                over.wait(0.1)

        thread = threading.Thread(target=pause)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    # -- looking at it

    def logins(self) -> tuple[int, ...]:
        """How often each prober got in."""
        return tuple(self._log(n).count("ok") for n in ("postgres", "redis"))

    def failures(self) -> list[str]:
        """What failed for the probers since this was asked last."""
        lines = [line for n in ("postgres", "redis") for line in self._log(n).splitlines() if line[:2] != "ok"]
        new = [line for line in lines if line not in self.told]
        self.told |= set(lines)
        return new

    def _log(self, name: str) -> str:
        path = self.home / f"prober-{name}.log"
        return path.read_text() if path.exists() else ""

    def reach(self, vault: Vault | None = None) -> Systems:
        return reach(self.facts, self.hub, vault or self.vault)

    def names(self) -> list[str]:
        return [one.name for one in catalog.everything(self.hub)]

    def revoked(self, serial: str) -> bool:
        """Whether the vault has revoked a certificate."""
        found = self.vault.get(f"pki/cert/{serial}")
        return bool(found and found["revocation_time"])

    def follows(self, name: str) -> bool:
        """Whether the consumer's file is what the vault has; its agent is asked to look."""
        entry = self.pair(name).entry
        assert entry
        found = self.vault.read(entry.path)
        assert found
        self.processes[self.hub.instance(entry.instance).guest.name].send_signal(signal.SIGHUP)
        time.sleep(0.1)
        return self._files(entry) == {key: text.format(**found.data) for key, text in entry.files.items()}

    def _files(self, ref: SecretRef) -> dict[str, str]:
        """What its reader has of an entry."""
        instance = self.hub.instance(ref.instance)
        folder = self.facts.run(instance.guest.name) / instance.stack.name
        return {name: (folder / name).read_text() for name in ref.files}

    def pair(self, name: str) -> Pair:
        found = next(one.of for one in catalog.everything(self.hub) if one.name == name)
        assert isinstance(found, Pair)
        return found

    def passwords(self, name: str) -> dict[str, str]:
        """Both, by half; and they are remembered."""
        pair = self.pair(name)
        entry = self.vault.read(pair.path)
        assert entry
        self.seen.setdefault(name, set()).update(entry.data[half] for half in pair.halves)
        return dict(entry.data)

    def opens(self, name: str, half: str, password: str) -> bool:
        pair = self.pair(name)
        with self.reach().service(self.hub.instance(pair.provider)) as service:
            provider = services.provider(pair.provider.partition("@")[0])
            return provider.can_login(service, pair.role, half, password)  # type: ignore[arg-type]

    def alive(self, name: str) -> list[str]:
        """What is wrong at any moment at all: the password that is in use must open its door."""
        data = self.passwords(name)
        half = data["active"]
        return [] if self.opens(name, half, data[half]) else [f"{name}: the vault's half in use, {half}, is refused"]

    def problems(self, name: str) -> list[str]:
        """What is wrong with a pair at rest, and with passwords that were stored for it before."""
        earlier = set(self.seen.get(name, ()))
        data, pair = self.passwords(name), self.pair(name)
        halves = [half for half in pair.halves if not self.opens(name, half, data[half])]
        found = [f"{name}: stored half {half} is refused" for half in halves]
        if left := records.pending(self.vault):
            found.append(f"journal: {left}")
        if pair.entry is not None:
            entry = self.vault.read(pair.entry.path)
            wanted = {"user": pair.user(data["active"]), "password": data[data["active"]]}
            if entry is None or entry.data != wanted:
                found.append(f"{name}: the consumer's entry is not the half in use")
            if self._files(pair.entry) != {key: text.format(**wanted) for key, text in pair.entry.files.items()}:
                found.append(f"{name}: the consumer's files are others")
        now = {data[half] for half in pair.halves}
        old = earlier - now
        if not found:
            self.seen[name] = now
            self.retired.setdefault(name, set()).update(old)
        return found + self.accepted(name, old)

    def heal(self, name: str) -> None:
        """Makes provider, pair and entry agree again, after a rotation that was weakened on purpose."""
        for path in records.pending(self.vault):
            self.vault.destroy(records.path(path))
        pair, data = self.pair(name), self.passwords(name)
        provider = services.provider(pair.provider.partition("@")[0])
        with self.reach().service(self.hub.instance(pair.provider)) as service:
            for half in ("a", "b"):
                provider.set_passwords(service, pair.role, data, half)  # type: ignore[arg-type]
        if pair.entry is not None and (entry := self.vault.read(pair.entry.path)):
            self.vault.write(pair.entry.path, pairs.login(pair, data), entry.version)
            eventually(lambda: self.follows(name))

    def accepted(self, name: str, passwords: set[str]) -> list[str]:
        """Which of these, that should open nothing, do."""
        halves = "ab" if self.pair(name).strategy == "pair" else "a"
        opened = [p for p in passwords if any(self.opens(name, half, p) for half in halves)]
        return [f"{name}: {len(opened)} retired passwords still open it"] if opened else []


@contextmanager
def built(make: type[World] = World, hub: Hub | None = None) -> Iterator[World]:
    """The world, in a directory that its unprivileged services can enter."""
    home = Path(tempfile.mkdtemp(prefix="aihub-rotation-"))
    home.chmod(0o711)
    try:
        with local_vault.served(home / "vault", hub) as server:
            (home / "vault").chmod(0o711)
            vault = server.bring_up()
            world = make(home, server, vault)
            try:
                world.start()
                yield world
            finally:
                world.close()
                vault.close()
    finally:
        shutil.rmtree(home)


def opened(facts: Facts, hub: Hub) -> Vault:
    """A connection of its own, for another process."""
    assert hub.vault
    vault = Vault(Path(facts.vault_socket), hub.vault.guest.fqdn, facts.state.ca)
    vault.login(*operator(facts.state))
    return vault


def eventually(what: Callable[[], object], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.02)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
