"""`aihub open STACK@GUEST`: brings the pages of an instance to a browser on this machine, over the one way in."""

from __future__ import annotations

import os
import sys
import time
import webbrowser

from aihub import names, report, ssh
from aihub.model.resolved import Instance, Opening

from ..errors import DONE, InvalidInput
from ..options import Options
from ..owners.choice import named
from ..owners.run import find_target, opened, perform
from .secrets import show

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def run(options: Options) -> int:
    """Stays until Ctrl-C: meanwhile every user of this machine can connect to the port, and a login protects."""
    with opened(options, "open", report, reads=True) as found:
        guest, stack = named(found.hub, options.only[0])
        instance = found.hub.instance(f"{stack}@{guest}") if stack else None
        opening = Opening.of(instance) if instance else None
        if instance is None or opening is None:
            pages = [one.name for one in found.hub.instances if one.stack.http]
            what = f"{options.only[0]} has no pages" if instance else f"{guest} is a guest: name one of its instances"
            raise InvalidInput(what, hint=f"one of: {', '.join(pages) or 'no instance of this hub has any'}")
        perform(found, (find_target,))
        inside = f"{names.INSIDE}:{opening.inside}"
        with ssh.forward_tcp(found.state, guest, inside, prefer=opening.inside) as port:
            url = f"http://localhost:{port}{instance.stack.gives['http'].path}"
            report.say(f"{instance.stack.title} of {guest}: {url} (until Ctrl-C)")
            for line in _sign_in(instance, found.hub.domain):
                report.say(line)
            if sys.stdout.isatty() and any(os.environ.get(one) for one in _DISPLAYS):
                webbrowser.open(url)
            _wait()
    return DONE


def _sign_in(instance: Instance, domain: str) -> list[str]:
    """Whom a person signs in as, and how to see the password."""
    return [
        f"sign in as {login}; the password: aihub secrets show {instance.name}/{name}"
        for name, login in show.logins(instance, domain).items()
    ]


def _wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
