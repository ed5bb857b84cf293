"""`make bench`: measures a running lab that has nothing to change, with the goal beside each figure.

Most goals are ratios inside one run or counts, so that they hold on a slow machine as well; seconds are shown
beside. Results go to build/bench.json. Exit code 0 when every goal is met, 1 when one is not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import variants
from aihub import paths
from measure import Figure, Race, Variant, ended_well, run_once
from world import World, is_up

ROOT = variants.ROOT
BUILD = ROOT / "build"


def main() -> int:
    """Measures, prints, writes, judges."""
    options = parse()
    world = World.find(options.hub, options.lab)
    if not is_up(world):
        print(f"bench: nothing is up for {options.hub} in lab {world.lab}: run `make up` first", file=sys.stderr)
        return 4
    BUILD.mkdir(exist_ok=True)
    tables: dict[str, list[dict[str, object]]] = {}
    figures: list[Figure] = []
    with redirect_stdout(sys.stderr if options.json else sys.stdout):
        for name in options.only:
            rows, found = MEASURES[name](world, options.rounds)
            tables[name], figures = rows, figures + found
            show(name, rows)
        show_figures(figures)
        document = write(world, options.rounds, tables, figures)
    if options.json:
        print(document, end="")
    return 0 if all(figure.met for figure in figures) else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--hub", type=Path, default=Path(os.environ.get("AIHUB_HUB") or paths.DEFAULT_HUB))
    parser.add_argument("--lab", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the document on standard output, tables on standard error")
    parser.add_argument("--only", action="append", choices=list(MEASURES))
    options = parser.parse_args()
    options.only = options.only or list(MEASURES)
    return options


def say(line: str) -> None:
    """Where we are, on standard error."""
    print(f"  {line}", file=sys.stderr, flush=True)


def noop(world: World, rounds: int) -> tuple[list[dict[str, object]], list[Figure]]:
    """No-op convergence of the guests alone."""
    race = Race.of(variants.noop(world, BUILD), rounds, ROOT, world.guest_cpu, say)
    sessions = commands_per_guest(world, variants.noop(world, BUILD)[3])
    return race.rows("floor-py"), [
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
    ]


def checks(world: World, rounds: int) -> tuple[list[dict[str, object]], list[Figure]]:
    """Sixty checks on six guests under pytest."""
    race = Race.of(variants.checks(world, BUILD), rounds, ROOT, world.guest_cpu, say)
    floor = "pytest, one batched fetch"
    return race.rows(floor), [
        Figure("60 checks / pytest over one batched fetch", race.ratio("aihub", floor), "x", 3),
        Figure(
            "testinfra as it comes / 60 checks",
            race.ratio("testinfra as it comes", "aihub"),
            "x",
            10,
            most=False,
        ),
    ]


def whole(world: World, rounds: int) -> tuple[list[dict[str, object]], list[Figure]]:
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
    return race.rows("plan (load, read, compare)"), [
        Figure("aihub --help", race.median("aihub --help"), "s", 0.25),
        Figure("load + plan + nothing to change", race.median("plan (load, read, compare)"), "s", 5),
        Figure("ssh commands per guest for it", sessions, "", 2),
        Figure("API writes of up with nothing to change", world.api_writes() - writes, "", 0),
        Figure("containers restarted by it", 0 if same else 1, "", 0),
        Figure("up, verify or the node's dry run that failed", failed, "", 0),
    ]


NODE_DRY_RUN = """
import json, os
from pathlib import Path
from aihub import load, paths
from aihub.adapters import node
hub = load.load(Path(os.environ["AIHUB_HUB"]), target="lab")
state = paths.State(Path(os.environ["AIHUB_STATE_DIR"]))
changes = node.plan(hub, state, "lab", json.loads(os.environ["BENCH_NAMES"]))
raise SystemExit(f"{len(changes)} changes pending on the node" if changes else 0)
"""

MEASURES = {"whole": whole, "noop": noop, "checks": checks}


def commands_per_guest(world: World, variant: Variant) -> float:
    """The most ssh commands that one run starts on any guest, as the guests' own sshd counts them."""
    variant.before()
    before = world.sessions()
    sample = run_once(Variant(variant.name, variant.argv, variant.verdict, variant.env), ROOT, lambda: 0.0)
    after = world.sessions()
    if sample.void:
        return math.nan
    return max(after[name] - before[name] - 1 for name in before)  # the second question counts itself


def show(name: str, rows: list[dict[str, object]]) -> None:
    """A table of variants."""
    print(f"\n{name}")
    titles = f"{'wall s (min-max)':>22} {'ctl cpu':>8} {'guests':>7} {'ratio':>7} {'cpu':>6}"
    print(f"{'variant':44} {'n':>2} {titles}")
    for row in rows:
        span = f"{row['wall']:.2f} ({row['wall_min']:.2f}-{row['wall_max']:.2f})"
        numbers = f"{row['cpu']:8.2f} {row['guest_cpu']:7.2f} {row['ratio']:6.1f}x {row['cpu_ratio']:5.1f}x"
        print(f"{row['variant']:44} {row['n']:>2} {span:>22} {numbers}")
        for reason in row["void"]:
            print(f"    void: {reason}")


def show_figures(figures: list[Figure]) -> None:
    """Every figure with its goal."""
    print()
    for figure in figures:
        verdict = "PASS" if figure.met else "FAIL"
        print(f"{verdict}  {figure.name}: {figure.value:.2f} {figure.unit}".rstrip() + f"  ({figure.goal})")


def write(world: World, rounds: int, tables: dict[str, list[dict[str, object]]], figures: list[Figure]) -> str:
    """build/bench.json: figures, tables, and where and when they were measured."""
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "hub": {
            "name": world.hub.name,
            "guests": len(world.hub.guests),
            "instances": len(world.hub.instances),
        },
        "rounds": rounds,
        "figures": [{**asdict(f), "goal": f.goal, "met": f.met} for f in figures],
        "tables": tables,
    }
    path = BUILD / "bench.json"
    text = json.dumps(document, indent=2) + "\n"
    path.write_text(text)
    print(f"\n{path.relative_to(ROOT)} written")
    return text


def machine() -> dict[str, object]:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    packages = ("ansible-core", "pytest", "pytest-testinfra", "pyinfra", "rich", "typer")
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.strip()
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ssh": ssh,
        "load": os.getloadavg()[0],
        "packages": {name: version(name) for name in packages},
        "seconds_since_boot": round(time.monotonic()),
    }


if __name__ == "__main__":
    sys.exit(main())
