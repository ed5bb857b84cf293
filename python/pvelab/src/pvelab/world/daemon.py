"""Starts and ends the lab's daemon, and tells where it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

from . import namespace
from .errors import LabError
from .lab import Lab
from .process import Process, end, remember, remembered, say, spawn, start_time, tail, wait_for
from .scale import Scale


def process(lab: Lab) -> Process | None:
    """The daemon, if it runs."""
    return remembered(lab.run / "server.pid")


def pid(lab: Lab) -> int | None:
    """The daemon's pid, if it runs."""
    found = process(lab)
    return found.pid if found else None


def port(lab: Lab) -> int | None:
    """The port on the host's loopback that leads to the API, once one was chosen."""
    try:
        return int(lab.port_file.read_text())
    except FileNotFoundError:
        return None


def start(lab: Lab, scale: Scale, resolver: str) -> None:
    """Starts the daemon unless it runs, and waits until the API answers over TLS."""
    running, kept = process(lab), lab.run / "server.settings"
    raw = {key: value for key, value in lab.config().raw.items() if key != "least"}
    settings = f"{scale.factor} {resolver} {namespace.LAYOUT} {json.dumps(raw)}"
    needed, known = json.dumps(lab.config().raw.get("least")), lab.run / "server.least"
    if running is None or not answers(lab) or not kept.exists() or kept.read_text() != settings:
        end(running)
        _spawn(lab, scale, resolver)
        kept.write_text(settings)
    elif not known.exists() or known.read_text() != needed:
        running.signal(signal.SIGHUP)  # guests that run may need more memory than before
    known.write_text(needed)
    say("API", f"answers at https://127.0.0.1:{port(lab)}")


def _spawn(lab: Lab, scale: Scale, resolver: str) -> None:
    log = lab.log("server")
    with _listen(port(lab)) as listener:
        lab.port_file.write_text(f"{listener.getsockname()[1]}\n")
        argv = [sys.executable, "-m", "pvelab.world.server", lab.name, "--fd", str(listener.fileno())]
        argv += ["--factor", str(scale.factor), "--resolver", resolver]
        package = str(Path(__file__).parents[2])
        found = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH", "")) if part)
        child = spawn(namespace.inside(lab, argv), log=log, keep=[listener.fileno()], env={"PYTHONPATH": found})
    remember(lab.run / "server.pid", child.pid)
    if not wait_for(lambda: answers(lab) or start_time(child.pid) is None, 30) or start_time(child.pid) is None:
        raise LabError(f"the API did not start: {tail(log.read_bytes())}", hint=f"see {log}")


def _listen(wanted: int | None) -> socket.socket:
    """A listening socket on the host's loopback; the port of last time if it is free."""
    for number in (wanted, 0):
        if number is None:
            continue
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
        except OSError:
            listener.close()
            continue
        return listener
    raise LabError("no free port on the loopback")


def answers(lab: Lab) -> bool:
    """True when a TLS handshake with the API succeeds."""
    number = port(lab)
    if number is None:
        return False
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", number), 5) as raw, context.wrap_socket(raw):
            return True
    except OSError:
        return False


def stop(lab: Lab) -> None:
    """Ends the daemon; the guests go on."""
    end(process(lab), 10)
    (lab.run / "server.pid").unlink(missing_ok=True)
