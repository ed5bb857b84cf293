"""Steps that reach the node: the lab comes up or is found, a real node was met before."""

from __future__ import annotations

from pathlib import Path

from aihub import render, report, ssh
from aihub.node import metal as node
from aihub.state import lock, statefile
from aihub.targets import lab

from ..errors import HubError, PreconditionFailed
from .run import Run


def make_lab(run: Run) -> None:
    """The lab runs, if the target is the lab."""
    if run.options.target != "lab":
        return
    name = run.options.lab_name(run.hub.name)
    with report.progress(f"lab {name}") as progress:
        progress("lab", "network, API and node come up")
        run.world = lab.up(run.hub, run.state, name, ssh.ensure_key(run.state))
    _trust_lab(run, run.world)


def find_lab(run: Run) -> None:
    """The lab that runs, if the target is the lab. Raises PreconditionFailed when there is none."""
    if run.options.target != "lab":
        return
    name = run.options.lab_name(run.hub.name)
    run.world = lab.world(name)
    if run.world is None:
        raise PreconditionFailed(f"the lab {name} does not run", hint="aihub up")
    _trust_lab(run, run.world)


def _trust_lab(run: Run, world: lab.World) -> None:
    run.state.make()
    if world.registry_ca:
        statefile.keep(run.state.directory / render.LAB_CA, Path(world.registry_ca).read_bytes())
    node.trust_lab(run.hub, run.state, netns=world.netns, host_key=world.node_host_key, certificate=world.certificate)


def be_trusted(run: Run) -> None:
    """A real node has our key, and we have its pins."""
    if run.options.target == "pve":
        if not run.state.certificate.exists():
            raise PreconditionFailed("this node was never met from here", hint="aihub trust")
        ssh.write(run.hub, run.state, ssh.Pve())


def take_lease(run: Run) -> None:
    """No other machine works on this hub until the run ends."""
    node.take_lease(run.hub, run.state, str(lock.me("up")))
    run.stack.callback(_release_lease, run)


def _release_lease(run: Run) -> None:
    try:
        node.release_lease(run.hub, run.state)
    except HubError as error:
        report.say(f"the lease on the node stays until it ends by itself: {error}")
