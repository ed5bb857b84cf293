"""The command line of pvelab."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .world.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """All verbs and their arguments."""
    top = argparse.ArgumentParser("pvelab", description="A Proxmox VE lab: the PVE API, emulated, over real guests.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", help="serve the API alone; guests run without a process")
    serve.add_argument("--backend", choices=["none"], default="none")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    serve.add_argument("--state", type=Path, metavar="DIR", help="keep everything there; default: nothing is kept")
    serve.add_argument("--root-password-file", type=Path, metavar="FILE", help="default: one is made and shown")
    serve.add_argument("--config", type=Path, metavar="FILE.json", help="node, storages and gpus as for `up`")
    serve.add_argument(
        "--token", action="append", default=[], metavar="USER@REALM!NAME", help="make a token with its user's rights"
    )
    serve.add_argument(
        "--template", action="append", default=[], metavar="VOLID", help="put an empty OS image into a storage"
    )
    up = verbs.add_parser("up", help="make a whole lab, or bring it up again")
    up.add_argument("name")
    up.add_argument("--config", type=Path, required=True, metavar="FILE.json")
    down = verbs.add_parser("down", help="stop a lab and take away all that it made on this machine")
    down.add_argument("name")
    down.add_argument("--purge", action="store_true", help="remove its guests' data, too")
    for verb, text in (("status", "what a lab is doing"), ("builder", "start the lab's builder container")):
        verbs.add_parser(verb, help=text).add_argument("name")
    verbs.add_parser("list", help="all labs of this machine")
    template = verbs.add_parser("template", help="make the OS image behind a storage volume")
    template.add_argument("name")
    template.add_argument("--volume", required=True, metavar="VOLID")
    template.add_argument("--suite", default="trixie")
    template.add_argument("--package", action="append", default=[], metavar="NAME")
    template.add_argument(
        "--mask", action="append", default=[], metavar="UNIT", help="a package's unit that never runs"
    )
    reuse = verbs.add_parser("reuse", help="let the lab's registry serve images that this machine has")
    reuse.add_argument("name")
    reuse.add_argument("images", nargs="*", metavar="HOST/REPOSITORY:TAG=INPUTS")
    image = verbs.add_parser("image", help="the same for one image, made by a command in the builder if it is missing")
    image.add_argument("name")
    image.add_argument("reference", metavar="HOST/REPOSITORY:TAG")
    image.add_argument("inputs", help="names what goes into the image, e.g. a digest")
    image.add_argument("command", nargs=argparse.REMAINDER, help="pushes to HOST/REPOSITORY:$LAB_TAG")
    execute = verbs.add_parser("exec", help="run a command in the lab's builder container")
    execute.add_argument("name")
    execute.add_argument("where", choices=["builder"])
    execute.add_argument("command", nargs=argparse.REMAINDER)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code."""
    args = parser().parse_args(argv)
    try:
        return _serve(args) if args.verb == "serve" else _control(args)
    except LabError as error:
        sys.stderr.write(f"pvelab: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(args: argparse.Namespace) -> int:
    from . import alone

    password, tokens, templates = args.root_password_file, tuple(args.token), tuple(args.template)
    alone.run(alone.Request(args.host, args.port, args.state, password, args.config, tokens, templates))
    return 0


def _control(args: argparse.Namespace) -> int:
    from .world import control

    if args.verb == "up":
        _print(control.up(args.name, json.loads(args.config.read_text())))
    elif args.verb == "down":
        control.down(args.name, args.purge)
    elif args.verb == "status":
        _print(control.status(args.name))
    elif args.verb == "list":
        _print(control.names())
    elif args.verb == "template":
        _print(control.template(args.name, args.volume, args.suite, args.package, args.mask))
    elif args.verb == "builder":
        _print(control.builder(args.name))
    elif args.verb == "exec":
        return control.exec_builder(args.name, _command(args))
    elif args.verb == "reuse":
        _print(control.reuse(args.name, args.images))
    elif args.verb == "image":
        _print(control.image(args.name, args.reference, args.inputs, _command(args)))
    return 0


def _command(args: argparse.Namespace) -> list[str]:
    command: list[str] = args.command
    return command[1:] if command[:1] == ["--"] else command


def _print(found: object) -> None:
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
