"""The command line: reads options, calls one verb, prints errors, sets the exit code."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import typer

from . import errors, interrupt, paths
from .model.target import DEFAULT, PVE, Word
from .options import Options

app = typer.Typer(
    help="One declarative file becomes a private + public AI hub on Proxmox VE, rehearsed for real in a lab.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

secrets = typer.Typer(help="The vault, and every secret of the hub.", no_args_is_help=True, rich_markup_mode=None)
new = typer.Typer(help="Files that a person goes on from.", no_args_is_help=True, rich_markup_mode=None)
models = typer.Typer(help="Language models: what there is, and how quick.", no_args_is_help=True, rich_markup_mode=None)
GROUPS = {"secrets": secrets, "new": new, "models": models}
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name, context_settings={"help_option_names": ["-h", "--help"]})


@dataclass(frozen=True)
class Given:
    """What a verb can be given: its type, how it is written and explained, and the field of Options that it becomes."""

    kind: Any
    info: Any
    field: str


def _option(kind: Any, default: Any, words: str, *names: str, field: str = "", **more: Any) -> Given:
    return Given(kind, typer.Option(default, *names, help=words, **more), field)


def _flag(words: str, *names: str, field: str = "", **more: Any) -> Given:
    return _option(bool, False, words, *names, field=field, **more)


def _file(meta: str, words: str, *names: str, field: str = "") -> Given:
    return _option(Path | None, None, words, *names, field=field, metavar=meta)


def _argument(kind: Any, default: Any, words: str, field: str = "only", **more: Any) -> Given:
    return Given(kind, typer.Argument(default, help=words, **more), field)


NAMES = list[str] | None
GIVEN = {
    "hub": _option(Path, paths.DEFAULT_HUB, "The hub file.", "--hub", envvar="AIHUB_HUB"),
    "target": _option(Word, DEFAULT, "Where the hub is.", "--target", envvar="AIHUB_TARGET"),
    "lab": _option(str, "", "The lab's name [default: the hub's name].", "--lab", envvar="AIHUB_LAB"),
    "scope": _option(Literal["api", "all"], "all", "api: Proxmox only; all: inside guests too."),
    "as_json": _flag("Print JSON on standard output.", "--json"),
    "yes": _flag("Apply without asking.", "--yes", "-y"),
    "debug": _flag("Show the whole trace of an error.", "--debug"),
    "full": _flag("Configure every guest, even if nothing changed.", "--full"),
    "no_verify": _flag("Run no checks at the end.", "--no-verify"),
    "stock": _flag("Lab: guests start from a stock image, as on a node.", "--stock", envvar="AIHUB_STOCK"),
    "long": _flag("Run only the tests that take too long for every day.", "--long", field="full"),
    "part": _option(
        NAMES, None, "Run only this part of the long tests; default: all.", "--part", field="only", metavar="NAME"
    ),
    "every": _flag("Replace every secret.", "--all"),
    "due": _flag("Replace only the secrets that are due.", "--due"),
    "allow_destroy": _option(
        NAMES, None, "A guest or instance whose data may be deleted; may be repeated.", metavar="NAME"
    ),
    "allow_move": _option(
        NAMES, None, "An instance that may begin empty on another guest or provider; may be repeated.", metavar="NAME"
    ),
    "allow_reboot": _option(NAMES, None, "A node that may be rebooted where its cards need that.", metavar="NODE"),
    "allow_gpu_reset": _flag(
        "Stop guests whose card may not come back from a reset: the node may have to be rebooted.", "--allow-gpu-reset"
    ),
    "kit_proof": _file("KEY", "Prove with this key that the recovery kit can be opened.", "--kit-proof"),
    "kit": _file("FILE", "Use the shares in this recovery kit.", "--kit"),
    "identity": _file("KEY", "The key that opens the recovery kit.", "--identity"),
    "out": _file("FILE", "Copy the newest recovery kit to this file.", "--out"),
    "restore": _file("FILE", "Restore from this recovery kit.", "--restore", field="kit"),
    "prove": _file("KEY", "Prove that this key opens the recovery kit.", "--prove", field="kit_proof"),
    "path": _argument(Path, Path("hub.yml"), "The file to write.", field="hub"),
    "guest": _argument(str, ..., "A guest's name."),
    "named": _argument(str, ..., "A guest, or an instance as STACK@GUEST.", metavar="GUEST|STACK@GUEST"),
    "at": _option(
        str, "", "The newest copy at this time, like 2026-11-29 or 2026-11-29T03:00.", "--at", metavar="TIME"
    ),
    "with_data": _flag("Take along what the instances of --allow-move keep where they stood.", "--with-data"),
    "no_backup": _flag("Do not copy first what goes or is replaced: not worth it, or it can't be read.", "--no-backup"),
    "updated": _argument(NAMES, None, "Instances; default all whose images differ.", metavar="STACK@GUEST"),
    "restored": _argument(list[str], ..., "Instances, or guests with all theirs.", metavar="GUEST|STACK@GUEST..."),
    "lines": _option(int, 100, "How many lines to show.", "--lines", "-n", min=1, max=100_000),
    "follow": _flag("Go on with new lines, for a day at most.", "--follow", "-f"),
    "machine": _argument(str, ..., "A guest's name, node, or the VMID of an undeclared guest.", metavar="guest"),
    "command": _argument(NAMES, None, "A command to run; without one a shell opens."),
    "only": _argument(NAMES, None, "Guests or instances (STACK@GUEST); default all.", metavar="NAME"),
    "old": _argument(str, ..., "The guest's present name."),
    "new": _argument(str, ..., "Its new name."),
    "instance": _argument(str, ..., "The instance to move.", metavar="STACK@GUEST"),
    "there": _argument(str, ..., "The guest to move it to.", metavar="GUEST"),
    "model": _argument(NAMES, None, "Models of hub.yml; default all.", metavar="MODEL"),
    "stack": _argument(str, ..., "The new stack's name.", metavar="NAME"),
    "needs": _option(NAMES, None, "A kind that the stack needs to start; may be repeated.", "--needs", metavar="KIND"),
    "page": _argument(str, ..., "An instance that has pages.", metavar="STACK@GUEST"),
    "password": _argument(str, ..., "A password that a person signs in with.", metavar="INSTANCE/NAME"),
    "given": _argument(str, ..., "A secret that you provide.", metavar="INSTANCE/NAME"),
    "secret": _argument(NAMES, None, "An instance, or one of its secrets.", metavar="INSTANCE[/NAME]"),
}

VERBS = {
    "init": ("path", "Write a commented starter hub.yml with a new hub id."),
    "validate": ("hub target as_json debug", "Check the hub file and its stacks; nothing is contacted."),
    "trust": ("hub yes debug", "Connect to the node once with your own ssh: pin its keys, install the hub's key."),
    "plan": (
        "only hub target lab scope allow_destroy as_json debug",
        "Show what `up` would change. Exit code 3 when changes are pending.",
    ),
    "up": (
        "only hub target lab scope yes full no_verify stock allow_destroy allow_move with_data "
        "allow_reboot allow_gpu_reset no_backup kit_proof as_json debug",
        "Build the hub, or change it to what the file says, and verify it.",
    ),
    "verify": ("hub target lab only as_json debug", "Run every check. Exit code 7 when one fails."),
    "status": ("hub target lab as_json debug", "Show which guests run, and their addresses."),
    "down": (
        "hub target lab yes allow_destroy allow_gpu_reset debug",
        "Remove the hub; in the lab, the lab as well.",
    ),
    "rename": ("old new hub target debug", "Rename a guest in hub.yml; it keeps its VMID, data and secrets."),
    "move": (
        "instance there hub target debug",
        "Move an instance to another guest in hub.yml; it keeps its secrets and its databases.",
    ),
    "graph": ("hub target debug", "Print the hub as a Mermaid diagram of zones, guests, stacks and flows."),
    "inventory": ("hub target lab", "Print the Ansible inventory of the hub as JSON."),
    "ssh": ("machine command hub target lab", "Open a shell on a guest, or run a command there."),
    "logs": (
        "named lines follow hub target lab debug",
        "Show the last lines of a guest's journal, or of an instance; values of secrets are taken out.",
    ),
    "open": ("page hub target lab debug", "Open the pages of an instance in your browser, over ssh, until Ctrl-C."),
    "stop": (
        "named hub target lab yes allow_gpu_reset debug",
        "Shut down a guest, or stop an instance, until `aihub start` or the next `aihub up`.",
    ),
    "start": ("named hub target lab debug", "Start a guest, or an instance, that was stopped."),
    "restart": ("named hub target lab yes allow_gpu_reset debug", "Restart a guest, or an instance."),
    "backup": ("only hub target lab debug", "Copy now what is copied every night."),
    "backups": (
        "only hub target lab as_json debug",
        "Show which copies there are, and how old. Exit code 7 when one is late, or was not found whole.",
    ),
    "restore": (
        "restored at no_backup hub target lab yes debug",
        "Put copies back: what an instance keeps becomes what it was.",
    ),
    "rebuild": (
        "guest no_backup hub target lab yes allow_gpu_reset debug",
        "Copy a guest, destroy it, make it anew, and put back what lay on it. The next run finishes a killed one.",
    ),
    "update": (
        "updated no_backup hub target lab yes allow_gpu_reset debug",
        "Run new versions of instances; one that does not do well comes back at its former version, with its data.",
    ),
    "models.list": (
        "model hub target lab as_json debug",
        "Show every model: what it takes of its card, who serves it.",
    ),
    "models.pull": (
        "model hub target lab yes as_json debug",
        "Bring the weights that hub.yml names to their engines: `aihub up` for these alone, without the checks.",
    ),
    "models.warm": ("model hub target lab debug", "Load models into memory by asking each for one word."),
    "models.bench": (
        "model hub target lab as_json debug",
        "Measure each model: time to the first token, tokens in a second. Several quantisations stand side by side.",
    ),
    "new.stack": ("stack needs debug", "Write a new stack in stacks/ that works as it is."),
    "check": ("", "Lint, types, unit tests and cases of this checkout; no root, no network."),
    "test": ("long part", "Run every test of this checkout, the real lab included."),
    "bench": ("hub lab as_json debug", "Measure the running lab; each figure has its goal beside it."),
    "secrets.init": ("hub target lab kit_proof debug", "Set up the vault; `aihub up` does that too."),
    "secrets.status": (
        "hub target lab as_json debug",
        "Show the vault, every secret's age, logins, certificates and the recovery kit. Exit code 4 when it is sealed.",
    ),
    "secrets.rotate": (
        "secret every due hub target lab yes as_json debug",
        "Replace secrets while they are in use; shows first what restarts. The next run finishes a killed one.",
    ),
    "secrets.set": (
        "given hub target lab debug",
        "Set a secret that aihub can't make: its value comes from standard input, or is typed unseen.",
    ),
    "secrets.show": ("password hub target lab debug", "Print a password that you sign in with."),
    "secrets.forget": (
        "given hub target lab yes debug",
        "Remove a secret that you provided; its instance then waits for it.",
    ),
    "secrets.unseal": (
        "kit identity hub target lab debug",
        "Open a sealed vault with three shares, typed or from a recovery kit.",
    ),
    "secrets.revoke": ("guest hub target lab yes debug", "End a guest's access to the vault at once."),
    "secrets.kit": (
        "out restore identity prove hub target lab debug",
        "Show, copy, prove or restore the recovery kit.",
    ),
}


def perform(verb: str, options: Options) -> None:
    """Runs a verb, turns errors into messages and exit codes, and leaves."""
    try:
        run: Callable[[Options], int] = import_module(f"aihub.verbs.{verb}").run
        code = run(options)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing new was started; run the same command again to go on\n")
        code = errors.INTERRUPTED
    except errors.HubError as error:
        if options.debug:
            raise
        from . import report

        report.error(error)
        code = error.exit_code
    except Exception as error:
        if options.debug:
            raise
        from . import report

        report.unexpected(error, verb)
        code = 1
    raise typer.Exit(code)


def _options(verb: str, given: Mapping[str, Any]) -> Options:
    fields: dict[str, Any] = {"target": PVE.word} if verb == "trust" else {}
    for name, value in given.items():
        field = GIVEN[name].field or name
        if field == "only":
            fields[field] = (*fields.get(field, ()), *((value,) if isinstance(value, str) else value or ()))
        else:
            listed = field.startswith("allow_") and not isinstance(value, bool)
            kind = frozenset if listed else {"needs": tuple}.get(field)
            fields[field] = kind(value or ()) if kind else value
    return Options(**fields)


def _add(verb: str, names: str, words: str) -> None:
    """The command of a verb: a function that takes what the verb can be given."""

    def call(**given: Any) -> None:
        perform(verb, _options(verb, given))

    about = ((name, GIVEN[name]) for name in names.split())
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=g.info, annotation=g.kind) for n, g in about]
    )
    outer, _, name = verb.rpartition(".")
    group = GROUPS[outer] if outer else app
    group.command(name, help=words, context_settings={"ignore_unknown_options": verb == "ssh"})(call)


for _verb, _about in VERBS.items():
    _add(_verb, *_about)


def main() -> None:
    """The entry point of the `aihub` program."""
    interrupt.listen()
    try:
        app()
    except SystemExit as end:
        if end.code == errors.INTERRUPTED:
            sys.stdout.flush()
            # Python would wait for threads that still build images; their programs got the same Ctrl-C.
            os._exit(errors.INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
