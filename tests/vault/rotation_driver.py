"""Runs rotations in forked children that AIHUB_CRASH_AT may kill: everything is imported once, here.

Reads a line of JSON for each run, {"names", "crash", "weak", "patience"}; an empty list of names only finishes what
was begun. Answers with the child's end: {"status", "count", "error"}.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hvac  # noqa: F401
import psycopg  # noqa: F401
import redis  # noqa: F401
from aihub import crashpoint
from aihub.errors import HubError
from aihub.model.resolved import Hub
from aihub.secrets import rotation
from aihub.secrets.rotation import catalog
from aihub.secrets.rotation.run import raise_first
from aihub.secrets.rotation.systems import Systems
from aihub.services import service as services
from aihub.vault import wire as vault_wire  # noqa: F401
from aihub.vault.client import Vault

from tests.vault import local_vault, rotation_world, weakenings
from tests.vault.rotation_world import Facts

Reaching = Callable[[Facts, Hub, Vault, float], Systems]


def child(facts: Facts, hub: Hub, reaching: Reaching, order: dict[str, Any]) -> dict[str, Any]:
    if order.get("crash"):
        os.environ["AIHUB_CRASH_AT"] = order["crash"]
    vault = rotation_world.opened(facts, hub)
    reach = reaching(facts, hub, vault, order.get("patience", 10.0))
    if order.get("weak"):
        reach = replace(reach, **weakenings.apply(order["weak"]))
    if order.get("meet"):  # with another driver, at the same moment
        time.sleep(max(0.0, order["meet"] - time.time()))
    started = time.monotonic()
    try:
        chosen = catalog.chosen(hub, order["names"])
        outcomes = rotation.rotate(reach, chosen) if chosen else rotation.resume(reach)
        raise_first(outcomes)
    except HubError as error:
        return {"count": len(crashpoint.made()), "error": str(error), "code": error.exit_code, "hint": error.hint}
    seconds = time.monotonic() - started
    return {
        "count": len(crashpoint.made()),
        "error": "",
        "code": 0,
        "seconds": seconds,
        "done": [o.name for o in outcomes],
    }


def serve(facts: Facts, hub: Hub, reaching: Reaching) -> None:
    """Answers until there is nothing more to do."""
    for instance in services.reconciled(hub):
        services.provider(instance.stack.name)
    for line in sys.stdin:
        inside, outside = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(inside)
            try:
                answer = child(facts, hub, reaching, json.loads(line))
            except BaseException:
                answer = {"error": traceback.format_exc(), "code": 99, "count": 0}
            os.write(outside, json.dumps(answer).encode())
            os._exit(0)
        os.close(outside)
        with os.fdopen(inside) as pipe:
            text = pipe.read()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status)
        sys.stdout.write(json.dumps({"killed": killed, **(json.loads(text) if text else {})}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(Facts(**json.loads(sys.argv[1])), local_vault.small_hub(), rotation_world.reach)
