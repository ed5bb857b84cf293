"""What must be true after every fault and the run that finishes its work, as a list of what is not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.contract.provision_lab import TEMPLATE, Hub, Lab
from tests.contract.rooted import POOL

OURS = frozenset({110, 201})
# On a number beside ours; with one of our names and running; a copy of one of ours, in our pool, between our numbers.
COPY = {"description": "aihub:v1 hub=00112233445566ff vmid=110 guest=db", "tags": "aihub;infra", "pool": POOL}
FOREIGN: dict[int, dict[str, str]] = {109: {"hostname": "neighbour"}, 202: {"hostname": "db"}, 150: COPY}


@dataclass(frozen=True)
class Decoys:
    """Guests of somebody else, as they were before."""

    before: dict[int, str]

    @classmethod
    def make(cls, lab: Lab) -> Decoys:
        """Makes them, by another client than ours."""
        for vmid, options in FOREIGN.items():
            wanted = {"hostname": "db", **options}
            lab.root.task("POST", "/nodes/pve/lxc", vmid=vmid, ostemplate=TEMPLATE, rootfs="local:1", **wanted)
        lab.root.task("POST", "/nodes/pve/lxc/202/status/start")
        return cls({vmid: cls._now(lab, vmid) for vmid in FOREIGN})

    @staticmethod
    def _now(lab: Lab, vmid: int) -> str:
        """Config, status and start time as one text."""
        if vmid not in lab.root.guests():
            return "gone"
        running = json.loads((lab.server_state / "running.json").read_text()).get(str(vmid))
        status = lab.root.guests()[vmid]["status"]
        return json.dumps([lab.root.config(vmid), status, running], sort_keys=True)

    def touched(self, lab: Lab) -> list[str]:
        """Which of them are not byte for byte what they were."""
        return [f"foreign guest {v} was touched" for v, text in self.before.items() if self._now(lab, v) != text]


def broken(lab: Lab, hub: Hub, decoys: Decoys, ours: frozenset[int]) -> list[str]:
    """Exactly the wanted guests run, no disk without a guest, nothing foreign touched, nothing in flight."""
    guests = lab.root.guests()
    wrong = []
    if set(guests) != ours | set(decoys.before):
        wrong.append(f"guests are {sorted(guests)}, wanted {sorted(ours)} beside the decoys")
    wrong += [f"guest {v} is {guests[v]['status']}" for v in ours & set(guests) if guests[v]["status"] != "running"]
    wrong += [f"guest {v} is locked" for v in ours & set(guests) if guests[v].get("lock")]
    volumes = lab.root("GET", "/nodes/pve/storage/local/content")
    disks = {int(v["vmid"]) for v in volumes if v.get("vmid")}
    if disks != set(guests):
        wrong.append(
            f"disks without a guest: {sorted(disks - set(guests))}, guests without: {sorted(set(guests) - disks)}"
        )
    wrong += decoys.touched(lab)
    if hub.journal:
        wrong.append(f"the journal is not empty: {hub.journal}")
    if running := lab.root("GET", "/nodes/pve/tasks", source="active"):
        wrong.append(f"tasks still run: {[t['upid'] for t in running]}")
    return wrong + _files(hub)


def _files(hub: Hub) -> list[str]:
    """Nothing half-written, nobody's lock, no lease, and nothing that others may read."""
    state = hub.state.directory
    wrong = [f"left behind: {p.name}" for p in state.rglob("*.new")] if state.exists() else []
    wrong += [f"left behind: {p.name}" for p in hub.state.runs.glob("*")]
    wrong += [f"others may look into {p.name}" for p in state.rglob("*") if p.is_dir() and p.stat().st_mode & 0o077]
    if hub.state.lock.exists() and hub.state.lock.read_text():
        wrong.append("the lock still names a holder")
    if hub.lease.exists():
        wrong.append("the lease was not given back")
    return wrong


def again(lab: Lab, hub: Hub, verb: str) -> list[str]:
    """One more run has nothing to write, but for the lease that it takes and gives back."""
    before = request_count(lab)
    if code := hub(verb):
        return [f"one more {verb} ended with {code}: {hub.output[-500:]}"]
    wrong = []
    if sent := changes(lab, since=before):
        wrong.append(f"one more {verb} sent {sent} changes to Proxmox")
    if others := [what for what in hub.made if what != "lease"]:
        wrong.append(f"one more {verb} wrote {others}")
    return wrong


def changes(lab: Lab, since: int) -> int:
    """How many changes tokens sent after the server's first `since` requests; it keeps the last 20,000 only."""
    kept = lab.root("GET", "/pvelab/requests")
    new = kept["requests"][max(0, len(kept["requests"]) - (kept["total"] - since)) :]
    return sum(1 for r in new if r["method"] != "GET" and "!" in r["user"])


def request_count(lab: Lab) -> int:
    """How many requests the server was sent, answered or not, since they were last forgotten."""
    counts: dict[str, Any] = lab.root("GET", "/pvelab/requests")
    return int(counts["total"])
