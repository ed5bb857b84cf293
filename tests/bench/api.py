"""The Proxmox API: how fast pvelab answers and starts, and what `aihub plan --scope api` costs against it.

Needs no lab and no root: each server is a `pvelab serve --backend none` of its own, with its state in a directory
that is removed afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import fleet
import plans
import reads
from aihub.model.resolved import Hub
from aihub.reading import load
from emulator import Emulator
from measure import Column, Figure, Measured, Race, Row, Sample, Table, Variant, ended_well
from output import ROOT, say

BIN = Path(sys.executable).parent
START, AGAIN, VALIDATE = "pvelab: spawn to an answered GET /version", "the same, state kept", "aihub validate"


def measure(rounds: int) -> Measured:
    """Everything about the API."""
    with TemporaryDirectory(prefix="aihub-bench-") as name:
        directory = Path(name)
        parts = [
            _small(directory, rounds),
            reads.measure(directory, hub(directory, reads.GUESTS), rounds),
            plans.measure(directory, [hub(directory, count) for count in plans.SIZES], rounds),
        ]
    return Measured([t for part in parts for t in part.tables], [f for part in parts for f in part.figures])


def hub(directory: Path, guests: int) -> Hub:
    """A hub of so many guests; its file is kept in the directory."""
    path = directory / f"hub-{guests}.yml"
    if not path.exists():
        path.write_text(fleet.text(guests))
    return load.load(path, target="pve")


def _small(directory: Path, rounds: int) -> Measured:
    """What takes a moment: validating a large file, starting the server."""
    file = hub(directory, reads.GUESTS).path
    argv = [str(BIN / "aihub"), "validate", "--hub", file, "--target", "pve"]
    race = Race.of([Variant(VALIDATE, argv, ended_well)], rounds, ROOT, say=say)
    race.samples |= {START: [], AGAIN: []}
    for turn in range(rounds + 1):
        place = directory / f"start-{turn}"
        for what in (START, AGAIN):
            server = Emulator(place)
            server.stop()
            say(f"{'rehearsal' if turn == 0 else f'round {turn}'}: {what} {server.start_seconds:.2f} s")
            if turn:
                race.samples[what].append(Sample(server.start_seconds, server.start_cpu))
    columns = [
        Column("", -44, lambda row: row["variant"]),
        Column("n", 2, lambda row: str(row["n"])),
        Column("wall s (min-max)", 22, lambda r: f"{r['wall']:.2f} ({r['wall_min']:.2f}-{r['wall_max']:.2f})"),
        Column("cpu", 6, lambda row: f"{row['cpu']:.2f}"),
    ]
    rows: list[Row] = race.rows(VALIDATE)
    return Measured(
        [Table("api: starting, validating", columns, rows)],
        [
            Figure(f"aihub validate of {reads.GUESTS} guests", race.median(VALIDATE), "s", 1),
            Figure("pvelab serve: first start to an answered GET /version", race.median(START), "s", 0.5),
        ],
    )
