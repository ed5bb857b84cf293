"""How many reads a second pvelab answers on one core, and how soon."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import keepalive
from aihub.model.resolved import Guest, Hub
from aihub.names import pool
from emulator import Emulator
from measure import Column, Figure, Measured, Row, Table
from output import say

GUESTS, CLIENTS, REQUESTS = 200, 8, 1500
RESOURCES, CONFIG, MIX = "/cluster/resources?type=vm", "a guest's config", "a mix of both and what else clients ask"
PER_SECOND, P95 = 500, 20


@dataclass(frozen=True)
class Round:
    """What one round saw: reads a second by the clock and by the server's CPU, and the 95th percentile in ms."""

    per_second: float
    per_cpu_second: float
    p95: float
    void: str = ""


def measure(directory: Path, hub: Hub, rounds: int) -> Measured:
    """Clients that ask without a pause, each over one connection, of a server that has one core to itself."""
    server = Emulator(directory / "reads", core=min(os.sched_getaffinity(0)))
    try:
        server.prepare(hub)
        server.fill(hub)
        headers = {"Authorization": f"PVEAPIToken={server.token}", "Accept-Encoding": "gzip"}
        target = keepalive.Target(server.host, server.port, str(server.certificate), headers)
        work = {RESOURCES: [RESOURCES], CONFIG: [f"{place(g)}/config" for g in hub.guests.values()], MIX: mix(hub)}
        found: dict[str, list[Round]] = {name: [] for name in work}
        with beside_the_server():
            for turn in range(rounds + 1):
                for name, paths in work.items():
                    one = _round(server, target, paths)
                    what = "rehearsal" if turn == 0 else f"round {turn}"
                    say(f"{what}: {name} {one.per_second:.0f}/s, p95 {one.p95:.1f} ms {one.void}".rstrip())
                    if turn:
                        found[name].append(one)
    finally:
        server.stop()
    rows = [_row(name, seen) for name, seen in found.items()]
    return Measured([_table(rows)], [figure for row in rows for figure in _figures(row)])


@contextmanager
def beside_the_server() -> Iterator[None]:
    """The client on the other cores, where there are any."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores - {min(cores)} or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def place(guest: Guest) -> str:
    """A guest's place in the API."""
    return f"/nodes/{guest.node}/{'lxc' if guest.kind == 'lxc' else 'qemu'}/{guest.vmid}"


def mix(hub: Hub) -> list[str]:
    """What a dashboard and a few tools ask: three reads of each guest, lists now and then."""
    lists = [RESOURCES, "/cluster/resources", "/nodes", "/nodes/pve/status", "/nodes/pve/lxc", "/nodes/pve/qemu"]
    lists += ["/nodes/pve/tasks?limit=50", "/nodes/pve/storage", "/nodes/pve/storage/local/content", "/version"]
    lists += ["/pools", f"/pools/{pool(hub.name)}", "/access/permissions", "/cluster/nextid", "/nodes/pve/network"]
    asked = [f"{place(g)}/{what}" for g in hub.guests.values() for what in ("config", "pending", "status/current")]
    asked += lists * (len(asked) // (5 * len(lists)))
    random.Random(0).shuffle(asked)
    return asked


def _round(server: Emulator, target: keepalive.Target, paths: list[str]) -> Round:
    before = server.cpu()
    seen = keepalive.read(target, islice(cycle(paths), REQUESTS), CLIENTS)
    cpu = server.cpu() - before
    void = seen.wrong[0] if seen.wrong else "" if len(seen.seconds) == REQUESTS else "answers are missing"
    return Round(seen.per_second, len(seen.seconds) / cpu, seen.percentile(0.95) * 1000, void)


def _row(name: str, rounds: list[Round]) -> Row:
    good = [one for one in rounds if not one.void]
    rates = [one.per_second for one in good] or [float("nan")]
    return {
        "variant": name,
        "n": len(good),
        "void": sorted({one.void for one in rounds if one.void}),
        "per_second": statistics.median(rates),
        "per_second_min": min(rates),
        "per_second_max": max(rates),
        "per_cpu_second": statistics.median([one.per_cpu_second for one in good] or [float("nan")]),
        "p95_ms": statistics.median([one.p95 for one in good] or [float("nan")]),
    }


def _table(rows: list[Row]) -> Table:
    columns = [
        Column("read", -44, lambda row: row["variant"]),
        Column("n", 2, lambda row: str(row["n"])),
        Column(
            "reads/s (min-max)",
            22,
            lambda r: f"{r['per_second']:.0f} ({r['per_second_min']:.0f}-{r['per_second_max']:.0f})",
        ),
        Column("p95 ms", 8, lambda row: f"{row['p95_ms']:.1f}"),
        Column("per cpu s", 10, lambda row: f"{row['per_cpu_second']:.0f}"),
    ]
    return Table(f"api: pvelab with {GUESTS} guests on one core, {CLIENTS} keep-alive clients", columns, rows)


def _figures(row: Row) -> list[Figure]:
    name = f"pvelab, {row['variant']}"
    return [
        Figure(f"{name}: reads a second on one core", row["per_second"], "/s", PER_SECOND, most=False),
        Figure(f"{name}: 95th percentile of {CLIENTS} clients", row["p95_ms"], "ms", P95),
    ]
