"""`aihub secrets kit`: the recovery kit is shown, copied, proven or put back."""

from __future__ import annotations

from aihub.secrets import kits
from aihub.state.statefile import replace as replace_file

from ... import report
from ...errors import DONE, InvalidInput, PreconditionFailed
from ...options import Options
from ...owners.run import Run, opened


def run(options: Options) -> int:
    """What was asked for; works without the vault."""
    if options.kit and not options.identity:
        raise InvalidInput("--restore needs the key that opens the kit", hint="--restore FILE --identity KEY")
    with opened(options, "secrets kit", report, locked=True) as found:
        if options.kit and options.identity:
            names = kits.restore(found.state, options.kit, options.identity)
            report.say(f"put back: {', '.join(names)}; next: aihub up")
            return DONE
        kit = _current(found)
        if options.kit_proof:
            kit = kits.prove_file(found.state, options.kit_proof)
        if options.out:
            _copy(kit, options)
        report.say(f"{kit.path}: made {kit.made}, {f'proven {kit.proven}' if kit.proven else 'never proven'}")
        report.say(f"open it with a key of: {', '.join(kit.recipients)}")
    return DONE


def _current(run: Run) -> kits.Kit:
    """The newest kit, made anew where its content changed."""
    to = kits.recipients(run.hub, run.state)
    if kits.newest(run.state) is None:
        raise PreconditionFailed("there is no recovery kit yet", where=str(run.state.kit), hint="aihub up")
    if why := kits.stale(run.hub, run.state, to):
        report.say(why)
    return kits.issue(run.hub, run.state, to)


def _copy(kit: kits.Kit, options: Options) -> None:
    assert options.out
    if options.out.exists():
        raise PreconditionFailed("this file exists", where=str(options.out), hint="choose another name")
    replace_file(options.out, kit.path.read_text())
    report.say(f"copied to {options.out}; only its recipients can open it")
