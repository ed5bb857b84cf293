"""`aihub secrets forget INSTANCE/NAME`: takes a given secret away again."""

from __future__ import annotations

from aihub.secrets import given

from ... import report
from ...errors import DONE, PreconditionFailed
from ...options import Options
from ...owners import secrets
from ...owners.run import Step, find_target, opened, perform, take_lease
from . import alone

REACH: tuple[Step, ...] = (find_target,)


def run(options: Options) -> int:
    """It is neither in the store nor on its guest any more; says who waits for it from then on."""
    (word,) = options.only
    with opened(options, "secrets forget", report) as found:
        ref = given.chosen(found.hub, word)
        alone(found, "secrets forget")
        perform(found, REACH)
        if found.vault().read(ref.path) is None:
            report.say(f"there is nothing to forget: nobody gave {word}")
            return DONE
        waits = ", ".join(given.waits(found.hub, [ref]))
        question = f"Forget {word}? It can't be read back, and from their next start on these wait for it: {waits}."
        if found.hub.target.needs_people and not options.yes and not report.confirm(question):
            raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")
        perform(found, (take_lease,))
        found.vault().destroy(ref.path)
        if left := secrets.take_back(found, ref):
            report.say(left)
        report.say("forgotten: what runs goes on with what it has read")
        report.say(f"from their next start on these wait for {given.command(ref)}: {waits}")
    return DONE
