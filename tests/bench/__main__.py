"""`make bench`: measures the API, and a running lab that has nothing to change, with the goal beside each figure.

Most goals are ratios inside one run or counts, so that they hold on a slow machine as well; seconds are shown
beside. `--only api` needs no lab and no root. Results go to build/bench.json. Exit code 0 when every goal is met, 1
when one is not, 4 when there is no lab to measure.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import api
import lab
import output
from aihub import paths
from measure import Measured
from world import World, is_up

IN_LAB: dict[str, Callable[[World, int], Measured]] = {"whole": lab.whole, "noop": lab.noop, "checks": lab.checks}
PARTS = ("api", *IN_LAB)
NO_LAB = 4


def main() -> int:
    """Measures, prints, writes, judges."""
    options = parse()
    world = World.find(options.hub, options.lab) if set(options.only) & set(IN_LAB) else None
    up = world is not None and is_up(world)
    code = 0
    if world and not up:
        text = f"nothing is up for {options.hub} in lab {world.lab}: run `make up` first"
        print(f"bench: {', '.join(part for part in options.only if part in IN_LAB)}: {text}", file=sys.stderr)
        code = NO_LAB
        if "api" not in options.only:
            return code
    found: dict[str, Measured] = {}
    with redirect_stdout(sys.stderr if options.json else sys.stdout):
        for part in options.only:
            if part == "api":
                found[part] = api.measure(options.rounds)
            elif world and up:
                found[part] = IN_LAB[part](world, options.rounds)
            else:
                continue
            output.show(found[part].tables)
        document = conclude(found, options.rounds, world if up else None)
    if options.json:
        print(document, end="")
    missed = not all(figure.met for part in found.values() for figure in part.figures)
    return code or int(missed)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--hub", type=Path, default=Path(os.environ.get("AIHUB_HUB") or paths.DEFAULT_HUB))
    parser.add_argument("--lab", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the document on standard output, tables on standard error")
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args()
    options.only = options.only or list(PARTS)
    return options


def conclude(found: dict[str, Measured], rounds: int, world: World | None) -> str:
    """The figures with their goals, the kills and faults of the last `make test`, and build/bench.json."""
    faults = output.faults()
    figures = [figure for part in found.values() for figure in part.figures] + output.fault_figures(faults)
    output.show_faults(faults)
    output.show_figures(figures)
    hub = world and {
        "name": world.hub.name,
        "guests": len(world.hub.guests),
        "instances": len(world.hub.instances),
    }
    return output.write(
        {
            "hub": hub,
            "rounds": rounds,
            "figures": [output.plain(figure) for figure in figures],
            "tables": {table.name: table.rows for part in found.values() for table in part.tables},
            "faults": faults,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
