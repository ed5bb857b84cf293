"""What is measured against a running lab that has nothing to change."""

from __future__ import annotations

import json
import math
import sys

import variants
from measure import Figure, Measured, Race, Variant, ended_well, run_once
from output import build, say, variants_table
from world import World

ROOT = variants.ROOT


def noop(world: World, rounds: int) -> Measured:
    """No-op convergence of the guests alone."""
    race = Race.of(variants.noop(world, build()), rounds, ROOT, world.guest_cpu, say)
    sessions = commands_per_guest(world, variants.noop(world, build())[3])
    return Measured(
        [variants_table("noop", race.rows("floor-py"))],
        [
            Figure("no-op of the guests / floor-py", race.ratio("aihub", "floor-py"), "x", 4),
            Figure("the same, connections warm / floor-py warm", race.ratio("aihub warm", "floor-py warm"), "x", 4),
            Figure(
                "tuned ansible-playbook / no-op of the guests",
                race.ratio("ansible-playbook tuned", "aihub"),
                "x",
                15,
                most=False,
            ),
            Figure("ssh commands per guest for it", sessions, "", 2),
        ],
    )


def checks(world: World, rounds: int) -> Measured:
    """Sixty checks on six guests under pytest."""
    race = Race.of(variants.checks(world, build()), rounds, ROOT, world.guest_cpu, say)
    floor = "pytest, one batched fetch"
    return Measured(
        [variants_table("checks", race.rows(floor))],
        [
            Figure("60 checks / pytest over one batched fetch", race.ratio("aihub", floor), "x", 3),
            Figure(
                "testinfra as it comes / 60 checks",
                race.ratio("testinfra as it comes", "aihub"),
                "x",
                10,
                most=False,
            ),
        ],
    )


def whole(world: World, rounds: int) -> Measured:
    """The verbs, on a hub with nothing to change."""
    race = Race.of(variants.whole(world), rounds, ROOT, world.guest_cpu, say)
    writes, started = world.api_writes(), world.started()
    up = Variant(
        "up (nothing to change, with verification)",
        world.aihub("up", "--yes", "--json"),
        ended_well,
        world.env,
    )
    verify = Variant("verify (every check)", world.aihub("verify", "--json"), ended_well, world.env)
    registry = world.status()["registry"]
    names = json.dumps(dict.fromkeys(registry["names"], registry["address"]))  # the node answers these in the lab
    env = {**world.env, "BENCH_NAMES": names}
    node = Variant("node dry run (metal)", [sys.executable, "-c", NODE_DRY_RUN], ended_well, env)
    once = {variant.name: run_once(variant, ROOT, world.guest_cpu) for variant in (up, verify, node)}
    race.samples |= {name: [sample] for name, sample in once.items()}
    failed = sum(bool(sample.void) for sample in once.values())
    same = world.started() == started
    sessions = commands_per_guest(world, variants.whole(world)[1])
    return Measured(
        [variants_table("whole", race.rows("plan (load, read, compare)"))],
        [
            Figure("aihub --help", race.median("aihub --help"), "s", 0.25),
            Figure("load + plan + nothing to change", race.median("plan (load, read, compare)"), "s", 5),
            Figure("ssh commands per guest for it", sessions, "", 2),
            Figure("API writes of up with nothing to change", world.api_writes() - writes, "", 0),
            Figure("containers restarted by it", 0 if same else 1, "", 0),
            Figure("up, verify or the node's dry run that failed", failed, "", 0),
        ],
    )


NODE_DRY_RUN = """
import json, os
from pathlib import Path
from aihub import node
from aihub.reading import load
from aihub.state.directory import State
hub = load.load(Path(os.environ["AIHUB_HUB"]), target="lab")
state = State(Path(os.environ["AIHUB_STATE_DIR"]))
changes = node.plan(state, node.desired(hub, state, json.loads(os.environ["BENCH_NAMES"]))).changes
raise SystemExit(f"{len(changes)} changes pending on the node" if changes else 0)
"""


def commands_per_guest(world: World, variant: Variant) -> float:
    """The most ssh commands that one run starts on any guest, as the guests' own sshd counts them."""
    variant.before()
    before = world.sessions()
    sample = run_once(Variant(variant.name, variant.argv, variant.verdict, variant.env), ROOT, lambda: 0.0)
    after = world.sessions()
    if sample.void:
        return math.nan
    return max(after[name] - before[name] - 1 for name in before)  # the second question counts itself
