"""Runs on a guest, sent over stdin: looks at what is managed there, places files, writes the manifest.

Standard library and ASCII only. The request follows the program on stdin, as JSON, so that no value is ever
on a command line or in a traceback:
{"action": "probe", "secrets": [PATH], "lines": [PATH]}
{"action": "forget", "stack": NAME}
{"action": "record", "desired": {KEY: HASH}, "made_from": {KEY: {PART: TEXT}}, "entries": {KEY: MANAGED},
    "stacks_gone": [STACK]}
    with MANAGED = {"files": [], "units": [], "boot_units": [], "tables": [] or {TABLE: HASH}, "stacks": [],
        "holds": [], "folders": [] that go with the role, and what is in them}
{"action": "bring", "networks": {STACK: [NETWORK]}} for the stacks that run, with all that "place" and "record" take
{"action": "leave", "stacks": [STACK]} or with "declared": [STACK] instead: every other one that the manifest lists
{"action": "agent", "wake": false, "renew": [STACK]}
{"action": "place", "wanted": [FILE], "role": KEY, "check": false} or with "lists": {KEY: [PATH]} instead of "role"
    with FILE = {"path": PATH, "content": TEXT, "mode": "0644", "owner": "0:0", "validate": ARGV}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from aihub.guests.probe.parts.bringing import bring
from aihub.guests.probe.parts.containers import every_container
from aihub.guests.probe.parts.files import lines, secret_state
from aihub.guests.probe.parts.leaving import leave
from aihub.guests.probe.parts.manifest import read_manifest, states
from aihub.guests.probe.parts.places import AGENT
from aihub.guests.probe.parts.placing import place
from aihub.guests.probe.parts.recording import record
from aihub.guests.probe.parts.undeclared import forget, there, volumes


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """The manifest, what it lists as it is now, the asked secret files, and the lines of other asked files."""
    manifest, every = read_manifest(), every_container()
    return {
        "manifest": manifest,
        "actual": states(manifest["entries"], every),
        "there": there(manifest, every),
        "secrets": {path: secret_state(path) for path in request.get("secrets", ())},
        "agent": agent_status(),
        "data": volumes(),
        "lines": {path: lines(path) for path in request.get("lines", ())},
    }


def agent_status() -> dict[str, Any] | None:
    """What the guest's agent last said of itself; None where it never ran."""
    try:
        with open(AGENT + "/status.json") as handle:
            found: dict[str, Any] = json.load(handle)
            return found
    except (OSError, ValueError):
        return None


def agent(request: dict[str, Any]) -> dict[str, Any]:
    """The agent's status; with `wake` it reads everything anew, `renew` are stacks whose certificate is to go."""
    for stack in request.get("renew", ()):
        os.makedirs(AGENT + "/renew", mode=0o700, exist_ok=True)
        with open(f"{AGENT}/renew/{stack}", "w"):
            pass
    if request.get("wake"):
        subprocess.run(["systemctl", "reload-or-restart", "hub-agent.service"], stdout=sys.stderr, check=True)
    return {"status": agent_status()}


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    actions = (probe, forget, leave, record, place, bring, agent)
    done = next(one for one in actions if one.__name__ == request["action"])(request)
    json.dump(done, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
