"""What `aihub plan --scope api` costs: beside a raw client that does the same reads, and for how many guests."""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keepalive
from aihub.model.resolved import Hub
from aihub.proxmox import state as proxmox_state
from aihub.proxmox.client import Proxmox
from aihub.proxmox.guests import provision
from emulator import Emulator
from measure import Column, Figure, Measured, Race, Row, Sample, Table
from output import say
from reads import RESOURCES, place

HERE = Path(__file__).resolve().parent
DELAY = 0.02  # seconds that the server adds to each request
SIZES = (10, 12, 100, 200, 1000)
SMALL, LARGE, LINE = 12, 200, (10, 100, 1000)  # the sizes with goals
FEW = 2  # rounds of what takes long
RAW, OURS, SERIAL, WHOLE = "raw", "aihub", "serial", "command"


@dataclass
class Fleet:
    """One size: its samples, and the most memory that a whole command took."""

    guests: int
    race: Race = field(default_factory=lambda: Race({RAW: [], OURS: [], SERIAL: [], WHOLE: []}))
    memory: float = math.nan


def measure(directory: Path, hubs: list[Hub], rounds: int) -> Measured:
    """Every size, each against a server of its own."""
    found = []
    for hub in hubs:
        server = Emulator(directory / f"plan-{len(hub.guests)}")
        try:
            found.append(_fleet(directory, server, hub, rounds))
        finally:
            server.stop()
    return Measured([_table([_row(fleet) for fleet in found])], _figures({fleet.guests: fleet for fleet in found}))


def reads_of(hub: Hub) -> list[str]:
    """What a plan reads: the list of guests, what each will be, and by their nodes' word what they do."""
    places = [place(guest) for guest in hub.guests.values()]
    lists = sorted({one.rpartition("/")[0] for one in places if "/lxc/" in one})
    machines = [f"{one}/status/current" for one in places if "/qemu/" in one]
    return [RESOURCES, *lists, *(f"{one}/pending" for one in places), *machines]


def _fleet(directory: Path, server: Emulator, hub: Hub, rounds: int) -> Fleet:
    found = Fleet(len(hub.guests))
    say(f"{found.guests} guests are made")
    server.prepare(hub)
    server.fill(hub)
    server.root("POST", "/pvelab/faults", kind="delay", seconds=DELAY, count=0, path="^/(cluster|nodes)/")
    reads = reads_of(hub)
    ways: dict[str, Callable[[], Sample]] = {
        RAW: lambda: _raw(server, reads),
        OURS: lambda: _ours(server, hub, reads),
        SERIAL: lambda: _serial(server, hub),
        WHOLE: lambda: _whole(directory, server, hub, found),
    }
    for turn in range((rounds if found.guests <= LARGE else FEW) + 1):
        for name, run in ways.items():
            if name == SERIAL and found.guests > SMALL:
                continue
            sample = run()
            what = "rehearsal" if turn == 0 else f"round {turn}"
            say(f"{what}: {found.guests} guests, {name} {sample.wall:.2f} s {sample.void}".rstrip())
            if turn:
                found.race.samples[name].append(sample)
    return found


def _raw(server: Emulator, reads: list[str]) -> Sample:
    """The floor: the same reads over as many connections, nothing made of the answers."""
    headers = {"Authorization": f"PVEAPIToken={server.token}", "Accept-Encoding": "gzip, deflate"}
    target = keepalive.Target(server.host, server.port, str(server.certificate), headers)
    seen = keepalive.read(target, reads, proxmox_state.READERS, first_alone=True)
    void = seen.wrong[0] if seen.wrong else "" if len(seen.seconds) == len(reads) else "answers are missing"
    return Sample(seen.wall, seen.cpu, void=void)


def _timed(run: Callable[[], str]) -> Sample:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    void = run()
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    return Sample(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, void=void)


def _ours(server: Emulator, hub: Hub, reads: list[str]) -> Sample:
    """What `plan --scope api` does once hub.yml is loaded: connect, read, compare."""
    server.root("DELETE", "/pvelab/requests")

    def run() -> str:
        actual = _client(server).read(hub)
        changes = provision.plan(hub, actual, hub.operator_keys).changes
        return f"{len(changes)} changes pending: {changes[0]}" if changes else ""

    sample = _timed(run)
    asked = [r["path"] for r in server.root("GET", "/pvelab/requests")["requests"] if "!" in r["user"]]
    same = sorted(asked) == sorted(f"/api2/json{path.partition('?')[0]}" for path in reads)
    return sample if same or sample.void else replace(sample, void="not the same reads as the raw client")


def _serial(server: Emulator, hub: Hub) -> Sample:
    """aihub's client, one read after the other."""

    def run() -> str:
        get = _client(server).get
        guests = [proxmox_state.seen(found) for found in get("/cluster/resources", type="vm")]
        actual = {guest.vmid: proxmox_state.read_guest(get, guest) for guest in guests}
        return "" if len(actual) == len(hub.guests) else "guests are missing"

    return _timed(run)


def _client(server: Emulator) -> Proxmox:
    return Proxmox(server.host, server.port, server.token, server.certificate)


def _whole(directory: Path, server: Emulator, hub: Hub, found: Fleet) -> Sample:
    """The command, from the start of Python to its exit code."""
    home = directory / f"home-{found.guests}"
    state = home / f"{hub.name}-pve"
    state.mkdir(parents=True, exist_ok=True)
    (state / "token").write_text(server.token)
    shutil.copy(server.certificate, state / "node-cert.pem")
    env = {**os.environ, "AIHUB_STATE": str(home), "XDG_RUNTIME_DIR": str(directory)}
    peak = directory / "peak"
    env |= {"BENCH_API": f"{server.host}:{server.port}", "BENCH_PEAK": str(peak), "NO_COLOR": "1"}
    argv = [sys.executable, str(HERE / "command.py"), "plan", "--scope", "api", "--target", "pve", "--hub", hub.path]
    started = time.monotonic()
    with (directory / "command.log").open("w+") as log:
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        void = "" if process.returncode == 0 else f"exit code {process.returncode}: {log.read()[-200:]}"
    most = int(peak.read_text()) / 1024
    found.memory = most if math.isnan(found.memory) else max(found.memory, most)
    return Sample(wall, used.ru_utime + used.ru_stime, void=void)


def _row(fleet: Fleet) -> Row:
    race = fleet.race
    void = sorted({f"{name}: {s.void}" for name, samples in race.samples.items() for s in samples if s.void})
    return {
        "guests": fleet.guests,
        "n": len(race.good(OURS)),
        "void": void,
        **{name: race.median(name) for name in race.samples},
        "ratio": race.ratio(OURS, RAW),
        "cpu": race.median(OURS, "cpu"),
        "command_cpu": race.median(WHOLE, "cpu"),
        "command_mib": fleet.memory,
    }


def _table(rows: list[Row]) -> Table:
    columns = [
        Column("guests", 6, lambda row: str(row["guests"])),
        Column("n", 2, lambda row: str(row["n"])),
        Column("raw client s", 12, lambda row: f"{row[RAW]:.2f}"),
        Column("in process s", 12, lambda row: f"{row[OURS]:.2f}"),
        Column("ratio", 6, lambda row: f"{row['ratio']:.2f}x"),
        Column("cpu", 6, lambda row: f"{row['cpu']:.2f}"),
        Column("serial s", 8, lambda row: "-" if math.isnan(row[SERIAL]) else f"{row[SERIAL]:.2f}"),
        Column("whole command s", 15, lambda row: f"{row[WHOLE]:.2f}"),
        Column("cpu", 6, lambda row: f"{row['command_cpu']:.2f}"),
        Column("MiB", 5, lambda row: f"{row['command_mib']:.0f}"),
    ]
    name = f"api: plan --scope api, {DELAY * 1000:.0f} ms added to each request, {proxmox_state.READERS} connections"
    return Table(name, columns, rows)


def _figures(found: dict[int, Fleet]) -> list[Figure]:
    small, large, (least, middle, most) = found[SMALL], found[LARGE], (found[n] for n in LINE)
    return [
        Figure(f"plan --scope api of {LARGE} guests, in process / raw client", large.race.ratio(OURS, RAW), "x", 1.5),
        Figure(f"the same of {most.guests:,} guests", most.race.ratio(OURS, RAW), "x", 1.5),
        Figure(f"the same of {SMALL} guests / serial", small.race.ratio(OURS, SERIAL), "x", 1),
        Figure("CPU of each further guest, 100 to 1,000 / 10 to 100", growth(least, middle, most), "x", 1.5),
        Figure(f"memory of the whole command, {most.guests:,} guests", most.memory, "MiB", 200),
    ]


def growth(least: Fleet, middle: Fleet, most: Fleet) -> float:
    """What each further guest costs at the large end against what it costs at the small end; 1 is linear."""
    slopes = [
        (more.race.median(OURS, "cpu") - less.race.median(OURS, "cpu")) / (more.guests - less.guests)
        for less, more in ((least, middle), (middle, most))
    ]
    return slopes[1] / slopes[0] if slopes[0] > 0 else math.nan
