"""Every fault as a scenario: what strikes, what the run that meets it must say, and what a person does about it.

`run_case` goes through one: from a known state the run meets the fault, the fault goes away, a person does what the
message says, one more run finishes the work, and one after that has nothing left to do.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aihub.state.directory import State
from pvelab.backend_none import host_key

from tests.contract.campaign import Place
from tests.contract.invariants import OURS, again, broken, changes, request_count
from tests.contract.provision_lab import Lab
from tests.contract.rooted import USER, Root

Rule = dict[str, Any]
CHANGES = {"memory: 1GiB": "memory: 2GiB", "memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 12GiB"}
ALWAYS = 0
LAG = 10  # seconds that the cluster's list of guests may be behind, as on a real node


@dataclass(frozen=True)
class Case:
    """One scenario of one fault; `fault` is its row in the table."""

    fault: str
    name: str
    run: str = "up"
    rules: tuple[Rule, ...] = ()
    code: int = 0
    says: tuple[str, ...] = ()
    job: dict[str, Any] = field(default_factory=dict)
    at_most: float = 60.0  # seconds
    requests: int = 0  # at most so many
    before: Callable[[Lab], object] | None = None  # what happens when hub and file are ready
    during: Callable[[Lab], object] | None = None  # what happens while it runs
    check: Callable[[Place], list[str]] | None = None  # what else must be true at once
    mend: Callable[[Lab], object] | None = None  # what a person does
    weakening: str = ""  # what must be there, or this is not survived

    def __str__(self) -> str:
        return f"{self.name}".replace(" ", "-").replace("/", ".")

    def __hash__(self) -> int:
        return hash((self.fault, self.name))


@dataclass(frozen=True)
class Weakened:
    """A case with the product weakened."""

    case: Case

    def __str__(self) -> str:
        return self.case.weakening.replace(" ", "-")


def run_case(place: Place, one: Case | Weakened) -> list[str]:
    """Goes through a case; gives what was not as it must be."""
    case = one.case if isinstance(one, Weakened) else one
    begin(place, case.run)
    place.hub.weaken = case.weakening if isinstance(one, Weakened) else ""
    try:
        wrong = _meet(place, case)
        if wrong and place.hub.weaken:
            return wrong
        return wrong + _finish(place, case)
    finally:
        place.hub.weaken = ""


def begin(place: Place, run: str) -> None:
    """A hub that is not there yet, or one that is up; in `change` its file asks for more."""
    place.hub.write({})
    place.lab.root.sweep(frozenset(place.decoys.before))
    place.lab.root("PUT", "/pvelab/lag", seconds=LAG)
    place.hub.introduce()
    reach(place.lab, taken=True)
    if run != "up":
        place.hub.ok("up")
    if run == "change":
        place.hub.write(CHANGES)


def _meet(place: Place, case: Case) -> list[str]:
    lab, hub = place.lab, place.hub
    if case.before:
        case.before(lab)
    lab.root("DELETE", "/pvelab/requests")
    place.known.clear()
    place.known.update(*(create_tasks(lab, vmid) for vmid in OURS))
    for rule in case.rules:
        lab.root.fault(**rule)
    meanwhile = threading.Thread(target=case.during or (lambda _: None), args=(lab,))
    meanwhile.start()
    code = hub("up" if case.run == "change" else case.run, **{"limit": case.at_most, **case.job})
    meanwhile.join()
    wrong = [] if code == case.code else [f"it ended with {code}, not {case.code}: {hub.output[-900:]}"]
    if hub.last.late:
        wrong.append(f"it took more than {case.at_most} s")
    said = hub.said
    wrong += [f"it does not say {text!r}: {hub.output[-900:]}" for text in case.says if text not in said]
    wrong += [f"it says {text!r}" for text in ("Traceback", "a fault of its own") if text in said]
    if not case.during:
        wrong += [f"{r['kind']} never struck" for r in lab.root("GET", "/pvelab/faults") if not r["struck"]]
    if case.requests and (count := request_count(lab)) > case.requests:
        wrong.append(f"{count} requests, at most {case.requests} were to be")
    return wrong + (case.check(place) if case.check else []) + place.decoys.touched(lab)


def _finish(place: Place, case: Case) -> list[str]:
    lab, hub = place.lab, place.hub
    lab.root("DELETE", "/pvelab/faults")
    if case.mend:
        case.mend(lab)
    last = "down" if case.run == "down" else "up"
    if code := hub(last):
        return [f"the {last} after it ended with {code}: {hub.output[-900:]}"]
    wrong = broken(lab, hub, place.decoys, frozenset() if last == "down" else OURS)
    return wrong + (again(lab, hub, "up") if last == "up" else [])


def clear(lab: Lab) -> None:
    """What root does about half-made guests and tasks that hang, as the messages say: unlock, destroy."""
    lab.root.quiet()
    for vmid, guest in lab.root.guests().items():
        if vmid in OURS:
            lab.root("DELETE", f"/pvelab/locks/{vmid}")
            if "description" not in lab.root.config(vmid):
                lab.root.task("DELETE", f"/nodes/pve/{guest['type']}/{vmid}")


def unlock(lab: Lab) -> None:
    """What root does about guests that a dead task left locked."""
    lab.root.quiet()
    for vmid in OURS & set(lab.root.guests()):
        lab.root("DELETE", f"/pvelab/locks/{vmid}")


def remove(lab: Lab, vmid: int) -> None:
    """What root does about a guest that is to be made again, with a create log of its own."""
    clear(lab)
    lab.root.task("DELETE", f"/nodes/pve/lxc/{vmid}")


def pin_by_hand(lab: Lab, name: str, address: str) -> None:
    """What a person does about a guest whose create log is gone, as the message says."""
    known = State(lab.directory / "hub" / "state" / "small-pve").known_hosts
    blob = base64.b64encode(host_key(name)).decode()
    with known.open("a") as file:
        file.write(f"{name},{address} ssh-ed25519 {blob}\n")


def reach(lab: Lab, *, taken: bool = False) -> None:
    """Rights on the numbers themselves: the token may then clear what dead creates left in no pool."""
    more = {"delete": 1} if taken else {}
    for vmid in sorted(OURS):
        for who in ({"users": USER}, {"tokens": f"{USER}!hub"}):
            lab.root("PUT", "/access/acl", path=f"/vms/{vmid}", roles="HubGuest", **who, **more)


def wait_for(lab: Lab, vmid: int) -> None:
    """Until a task that nobody sees has made its guest."""
    limit = time.monotonic() + 10
    while "description" not in lab.root.config(vmid):
        assert time.monotonic() < limit
        time.sleep(0.05)


def wrote(place: Place) -> list[str]:
    """The server was sent a change: the fault struck half-way."""
    return [] if changes(place.lab, since=0) else ["it struck before the first change"]


def wrote_nothing(place: Place) -> list[str]:
    """The server was sent no change."""
    count = changes(place.lab, since=0)
    return [f"{count} changes were sent"] if count else []


def create_tasks(lab: Lab, vmid: int) -> set[str]:
    """The newest create tasks of a number."""
    tasks = lab.root("GET", "/nodes/pve/tasks", source="all", limit=50, vmid=vmid)
    return {t["upid"] for t in tasks if t["type"] in ("vzcreate", "qmcreate")}


def one_create_each(place: Place) -> list[str]:
    """No guest was made twice: one create task each since the fault was set up."""
    new = {vmid: create_tasks(place.lab, vmid) - place.known for vmid in sorted(OURS)}
    return [f"guest {vmid} has new create tasks {made}" for vmid, made in new.items() if len(made) != 1]


def task_runs(kind: str) -> Callable[[Place], list[str]]:
    """A task of that type still runs: nobody stopped it."""

    def check(place: Place) -> list[str]:
        active = [t["type"] for t in place.lab.root("GET", "/nodes/pve/tasks", source="active")]
        return [] if kind in active else [f"the {kind} was stopped"]

    return check


def config_is(vmid: int, **wanted: object) -> Callable[[Place], list[str]]:
    """Somebody's edit is still there."""

    def check(place: Place) -> list[str]:
        have = place.lab.root.config(vmid)
        return [f"{k} of {vmid} is {have.get(k)}, not {v}" for k, v in wanted.items() if str(have.get(k)) != str(v)]

    return check


def power_cut(kind: str) -> Callable[[Lab], None]:
    """The server is killed while a task of that type runs."""

    def cut(lab: Lab) -> None:
        root = Root(lab.port, lab.directory / "certificate.pem", ticket=lab.root.ticket)
        limit = time.monotonic() + 30
        while not any(t["type"] == kind for t in root("GET", "/nodes/pve/tasks", source="active")):
            assert time.monotonic() < limit, f"no {kind} runs"
            time.sleep(0.02)
        lab.kill()
        root.session.close()

    return cut


def restart(lab: Lab) -> None:
    """The power comes back."""
    if lab.server.poll() is None:
        lab.kill()
    lab.start()


def new_certificate(lab: Lab) -> None:
    """The server is started with another certificate; the old one is put aside."""
    lab.kill()
    for name in ("pve-ssl.pem", "pve-ssl.key"):
        path = lab.server_state / name
        path.rename(path.with_suffix(path.suffix + ".aside"))
    lab.start()


def old_certificate(lab: Lab) -> None:
    """The server is started with its first certificate."""
    lab.kill()
    for name in ("pve-ssl.pem", "pve-ssl.key"):
        with suppress(FileNotFoundError):
            (lab.server_state / f"{name}.aside").rename(lab.server_state / name)
    lab.start()


def rules(paths: Iterable[str], **more: object) -> tuple[Rule, ...]:
    """One rule for each path."""
    return tuple({"path": path, **more} for path in paths)
