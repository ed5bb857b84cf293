"""`aihub secrets show INSTANCE/NAME`: a password that a person signs in with."""

from __future__ import annotations

import sys

from aihub import report
from aihub.model.resolved import Hub, Instance, SecretRef

from ...errors import DONE, InvalidInput, PreconditionFailed
from ...options import Options
from ...owners.run import find_target, opened, perform


def run(options: Options) -> int:
    """The user on standard error, the password on standard output: nothing but it, so that it can be piped."""
    (word,) = options.only
    with opened(options, "secrets show", report, reads=True) as found:
        ref, login = chosen(found.hub, word)
        perform(found, (find_target,))
        entry = found.vault().read(ref.path)
        if entry is None:
            raise PreconditionFailed(f"{word} was not made yet", hint="aihub up")
        sys.stderr.write(f"{login}\n")
        sys.stdout.write(f"{entry.data['value']}\n")
    return DONE


def logins(instance: Instance, domain: str) -> dict[str, str]:
    """The secrets of an instance that people sign in with: name -> whom as."""
    every = instance.stack.needs.secrets.items()
    return {name: spec.login.replace("{domain}", domain) for name, spec in every if spec.login}


def chosen(hub: Hub, word: str) -> tuple[SecretRef, str]:
    """The secret of that name, and who signs in with it. Raises InvalidInput for what no person signs in with."""
    known = {f"{i.name}/{name}": login for i in hub.instances for name, login in logins(i, hub.domain).items()}
    if word not in known:
        hint = f"one of: {', '.join(known)}" if known else "no stack of this hub has a login for people"
        raise InvalidInput(f"{word} is no password that a person signs in with", where=hub.path, hint=hint)
    instance, _, name = word.rpartition("/")
    return next(ref for ref in hub.secrets if (ref.instance, ref.name) == (instance, name)), known[word]
