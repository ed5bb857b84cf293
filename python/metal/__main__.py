"""`python -m metal NODE`: an order on standard input, its answer on standard output, both JSON; nothing else there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gevent import monkey  # type: ignore[import-untyped]

from .exchange import Answer, Order

DONE, FAILED, REFUSED = 0, 1, {"precondition": 4, "conflict": 6}


def main() -> int:
    """Carries the order out. The exit code is for people: all that it says is in the answer."""
    options = _options()
    order = Order.read(sys.stdin.read())
    # Before anything else is imported: pyinfra waits for several things at once.
    monkey.patch_all()
    from .node import PyinfraNode, prepare
    from .run import carry_out

    prepare()
    answer = carry_out(order, PyinfraNode(options.node, options.ssh_config, options.known_hosts), dry=options.dry)
    sys.stdout.write(answer.as_json())
    return _code(answer)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="metal", description=__doc__)
    parser.add_argument("node", help="its name in the ssh_config")
    parser.add_argument("--dry", action="store_true", help="change nothing")
    parser.add_argument("--ssh-config", type=Path, required=True)
    parser.add_argument("--known-hosts", type=Path, required=True)
    return parser.parse_args()


def _code(answer: Answer) -> int:
    if answer.refused:
        return REFUSED[answer.refused.kind]
    return FAILED if answer.failed else DONE


if __name__ == "__main__":
    sys.exit(main())
