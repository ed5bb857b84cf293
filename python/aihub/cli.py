"""The command line: reads options, calls one verb, prints errors, sets the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import errors, paths
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
app.add_typer(secrets, name="secrets", context_settings={"help_option_names": ["-h", "--help"]})

HubFile = Annotated[Path, typer.Option("--hub", envvar="AIHUB_HUB", help="The hub file.")]
TargetName = Annotated[Literal["lab", "pve"], typer.Option("--target", envvar="AIHUB_TARGET", help="Where the hub is.")]
LabName = Annotated[str, typer.Option("--lab", envvar="AIHUB_LAB", help="The lab's name [default: the hub's name].")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole trace of an error.")]
Scope = Annotated[Literal["api", "all"], typer.Option(help="api: Proxmox only; all: inside guests too.")]
AllowDestroy = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Guest or instance whose data may go.")]


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


@app.command()
def init(path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("hub.yml")) -> None:
    """Write a commented starter hub.yml with a new hub id."""
    perform("init", Options(hub=path))


@app.command()
def validate(
    hub: HubFile = paths.DEFAULT_HUB, target: TargetName = "lab", as_json: Json = False, debug: Debug = False
) -> None:
    """Check the hub file and its stacks; nothing is contacted."""
    perform("validate", Options(hub=hub, target=target, as_json=as_json, debug=debug))


@app.command()
def trust(hub: HubFile = paths.DEFAULT_HUB, yes: Yes = False, debug: Debug = False) -> None:
    """Meet the node once with your own ssh: pin its keys, install the hub's key."""
    perform("trust", Options(hub=hub, target="pve", yes=yes, debug=debug))


@app.command()
def plan(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    scope: Scope = "all",
    allow_destroy: AllowDestroy = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what `up` would change. Exit code 3 when changes are pending."""
    allowed = frozenset(allow_destroy or ())
    perform(
        "plan",
        Options(hub=hub, target=target, lab=lab, scope=scope, allow_destroy=allowed, as_json=as_json, debug=debug),
    )


@app.command()
def up(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    scope: Scope = "all",
    yes: Yes = False,
    full: Annotated[bool, typer.Option("--full", help="Configure every guest, changed or not.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Leave the checks to `aihub verify`.")] = False,
    stock: Annotated[
        bool, typer.Option("--stock", envvar="AIHUB_STOCK", help="Lab: guests start from a stock image, as on a node.")
    ] = False,
    allow_destroy: AllowDestroy = None,
    kit_proof: Annotated[
        Path | None, typer.Option("--kit-proof", metavar="KEY", help="Show with this key that the recovery kit opens.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build the hub, or bring it back to what the file says, and verify it."""
    allowed = frozenset(allow_destroy or ())
    perform(
        "up",
        Options(
            hub=hub,
            target=target,
            lab=lab,
            scope=scope,
            yes=yes,
            full=full,
            verify=not no_verify,
            stock=stock,
            allow_destroy=allowed,
            kit_proof=kit_proof,
            as_json=as_json,
            debug=debug,
        ),
    )


@app.command()
def verify(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    only: Annotated[list[str] | None, typer.Argument(help="Guests or instances; default all.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run every check. Exit code 7 when one fails."""
    perform("verify", Options(hub=hub, target=target, lab=lab, only=tuple(only or ()), as_json=as_json, debug=debug))


@app.command()
def status(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What runs, where, and how to look around."""
    perform("status", Options(hub=hub, target=target, lab=lab, as_json=as_json, debug=debug))


@app.command()
def down(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    yes: Yes = False,
    allow_destroy: AllowDestroy = None,
    debug: Debug = False,
) -> None:
    """Remove what is ours; in the lab everything the lab made."""
    allowed = frozenset(allow_destroy or ())
    perform("down", Options(hub=hub, target=target, lab=lab, yes=yes, allow_destroy=allowed, debug=debug))


@app.command()
def graph(hub: HubFile = paths.DEFAULT_HUB, target: TargetName = "lab", debug: Debug = False) -> None:
    """Print the hub as a Mermaid diagram of zones, guests, stacks and flows."""
    perform("graph", Options(hub=hub, target=target, debug=debug))


@app.command()
def inventory(hub: HubFile = paths.DEFAULT_HUB, target: TargetName = "lab", lab: LabName = "") -> None:
    """Print the Ansible inventory of the hub as JSON."""
    perform("inventory", Options(hub=hub, target=target, lab=lab))


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(
    guest: Annotated[str, typer.Argument(help="A guest's name, or node.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command to run there.")] = None,
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
) -> None:
    """Open a shell on a guest, or run a command there."""
    perform("ssh", Options(hub=hub, target=target, lab=lab, only=(guest, *(command or ()))))


@app.command()
def check() -> None:
    """Lint, types, unit tests and cases of this checkout; no root, no network."""
    perform("check", Options())


@app.command()
def test(
    long: Annotated[bool, typer.Option("--long", help="Only what is too long for every day; needs no root.")] = False,
) -> None:
    """Every test of this checkout, the real lab included."""
    perform("test", Options(full=long))


@app.command()
def bench(hub: HubFile = paths.DEFAULT_HUB, lab: LabName = "", as_json: Json = False, debug: Debug = False) -> None:
    """Measure the running lab, with the goal beside each figure."""
    perform("bench", Options(hub=hub, lab=lab, as_json=as_json, debug=debug))


KeyFile = Annotated[Path | None, typer.Option("--identity", metavar="KEY", help="The key that opens the kit.")]


@secrets.command("init")
def secrets_init(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    kit_proof: Annotated[
        Path | None, typer.Option("--kit-proof", metavar="KEY", help="Show with this key that the recovery kit opens.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Bring the vault up: `aihub up` does it too."""
    perform("secrets.init", Options(hub=hub, target=target, lab=lab, kit_proof=kit_proof, debug=debug))


@secrets.command("status")
def secrets_status(
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The vault, every secret with its age, logins, certificates, recovery kit. Exit code 4 when it is sealed."""
    perform("secrets.status", Options(hub=hub, target=target, lab=lab, as_json=as_json, debug=debug))


@secrets.command("rotate")
def secrets_rotate(
    only: Annotated[list[str] | None, typer.Argument(metavar="INSTANCE[/NAME]", help="What to replace.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Only what is old enough.")] = False,
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    yes: Yes = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Replace secrets while they are in use; shows first what that restarts. Killed anywhere, the next run goes on."""
    names = tuple(only or ())
    perform(
        "secrets.rotate",
        Options(
            hub=hub, target=target, lab=lab, only=names, every=every, due=due, yes=yes, as_json=as_json, debug=debug
        ),
    )


@secrets.command("unseal")
def secrets_unseal(
    kit: Annotated[Path | None, typer.Option("--kit", metavar="FILE", help="Take the shares of this kit.")] = None,
    identity: KeyFile = None,
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    debug: Debug = False,
) -> None:
    """Open a sealed vault with three shares, typed or from a recovery kit."""
    perform("secrets.unseal", Options(hub=hub, target=target, lab=lab, kit=kit, identity=identity, debug=debug))


@secrets.command("revoke")
def secrets_revoke(
    guest: Annotated[str, typer.Argument(help="A guest's name.")],
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    yes: Yes = False,
    debug: Debug = False,
) -> None:
    """End a guest's access to the vault at once."""
    perform("secrets.revoke", Options(hub=hub, target=target, lab=lab, only=(guest,), yes=yes, debug=debug))


@secrets.command("kit")
def secrets_kit(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Copy the newest kit there.")] = None,
    restore: Annotated[Path | None, typer.Option("--restore", metavar="FILE", help="Put back what it holds.")] = None,
    identity: KeyFile = None,
    prove: Annotated[Path | None, typer.Option("--prove", metavar="KEY", help="Show that this key opens it.")] = None,
    hub: HubFile = paths.DEFAULT_HUB,
    target: TargetName = "lab",
    lab: LabName = "",
    debug: Debug = False,
) -> None:
    """The recovery kit: show, copy, prove or put back."""
    perform(
        "secrets.kit",
        Options(hub=hub, target=target, lab=lab, out=out, kit=restore, identity=identity, kit_proof=prove, debug=debug),
    )


def main() -> None:
    """The entry point of the `aihub` program."""
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
