"""Where the node takes Proxmox's packages from: without a subscription, from the repository that asks for none.

Files that name the enterprise repository are put aside as they are, under a name that apt passes over, and come back
when hub.yml no longer says so.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aihub.names import Layout

from .actual import ActualNode
from .desired import Desired
from .refusal import RefusedByNode
from .services import file_part
from .steps import Step, Upload, command
from .texts import render

FREE = "no-subscription"
_ENTERPRISE = re.compile(r"https?://enterprise\.proxmox\.com/debian/([a-z0-9-]+)/?")
_OPEN = re.compile(r"https?://download\.proxmox\.com/debian/([a-z0-9-]+)/?")
_OFF = ("no", "false", "0", "off", "without", "disable")
_LIST = "/etc/apt/sources.list"


@dataclass(frozen=True)
class Entry:
    """An entry for apt that is switched on."""

    uris: tuple[str, ...]
    suite: str
    components: tuple[str, ...]

    def products(self, where: re.Pattern[str]) -> list[str]:
        """What it takes from a place, as that calls it."""
        return [found[1] for uri in self.uris if (found := where.fullmatch(uri))]


@dataclass(frozen=True)
class Repository:
    """One that asks for no subscription."""

    product: str
    suite: str

    @property
    def component(self) -> str:
        """The part of it that is free."""
        return FREE if self.product.startswith("ceph") else f"{self.product}-{FREE}"


def steps(desired: Desired, actual: ActualNode) -> list[Step]:
    """The step that brings the repositories to what hub.yml says; or back to what they were."""
    if desired.packages != FREE:
        return removal(desired, actual)
    if (actual.api.get("subscription") or {}).get("status") == "active":
        raise RefusedByNode(
            "precondition",
            f"node {desired.node} has a subscription, and `packages: {FREE}` would leave it unused",
            f"take `packages` off nodes.{desired.node} in hub.yml",
        )
    layout = Layout(desired.hub)
    put_aside = list(_enterprise(actual, layout))
    repositories = _wanted(actual, layout)
    text = render("repositories.sources.j2", desired, repositories=repositories)
    uploads, differences = file_part(actual, layout.repositories, text) if repositories else ([], [])
    moves = [command("mv", "-f", path, path + layout.aside) for path in put_aside]
    differences += [(path, "the enterprise repository", "put aside") for path in put_aside]
    return [Step("repositories", "package repositories", "configure", tuple(differences), (*uploads, *moves))]


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The step that puts everything back; none where nothing of ours is."""
    layout = Layout(desired.hub)
    aside = [path for path in actual.sources if path.endswith(layout.aside)]
    there = layout.repositories in actual.files
    if not aside and not there:
        return []
    commands: list[str | Upload] = []
    for path in aside:
        former, there_now = shlex.quote(path.removesuffix(layout.aside)), shlex.quote(path)
        # What somebody has made anew meanwhile is as he wants it.
        commands.append(f"if [ -e {former} ]; then rm -f {there_now}; else mv {there_now} {former}; fi")
    commands.append(command("rm", "-f", layout.repositories))
    differences = [(path.removesuffix(layout.aside), "put aside", "as it was") for path in aside]
    differences += [(layout.repositories, "ours", "none")] if there else []
    return [Step("repositories", "package repositories", "delete", tuple(differences), tuple(commands))]


def _enterprise(actual: ActualNode, layout: Layout) -> Iterator[str]:
    """The files that name the enterprise repository. Raises RefusedByNode for one that names others, too."""
    for path, lines in actual.sources.items():
        entries = [] if path.endswith(layout.aside) else _entries(path, lines)
        theirs = [entry for entry in entries if entry.products(_ENTERPRISE)]
        if theirs and (path == _LIST or len(theirs) < len(entries)):
            raise RefusedByNode(
                "conflict",
                f"{path} names the enterprise repository beside others, so that it can't be put aside as a whole",
                f"give the enterprise repository a file of its own in {_LIST}.d, or switch it off there yourself",
            )
        if theirs:
            yield path


def _wanted(actual: ActualNode, layout: Layout) -> list[Repository]:
    """A free repository for each that is put aside, and for Proxmox VE itself, but those that somebody has already."""
    taken: set[str] = set()
    found = {"pve": Repository("pve", actual.values.get("suite", ""))}
    for path, lines in actual.sources.items():
        for entry in _entries(path.removesuffix(layout.aside), lines) if path != layout.repositories else ():
            found |= {name: Repository(name, entry.suite) for name in entry.products(_ENTERPRISE)}
            taken |= {name for name in entry.products(_OPEN) if any(FREE in one for one in entry.components)}
    return [found[name] for name in sorted(found.keys() - taken)]


def _entries(path: str, lines: Sequence[str]) -> list[Entry]:
    plain = [line for line in lines if not line.lstrip().startswith("#")]
    if path.endswith(".sources"):
        return [entry for text in re.split(r"\n[ \t]*\n", "\n".join(plain)) if (entry := _stanza(text))]
    words = [re.sub(r"\[[^]]*\]", "", line).split() for line in plain]
    return [Entry((line[1],), line[2], tuple(line[3:])) for line in words if len(line) > 3 and line[0] == "deb"]


def _stanza(text: str) -> Entry | None:
    joined = re.sub(r"\n[ \t]+", " ", text)
    fields = {k.strip().lower(): v.split() for k, _, v in (line.partition(":") for line in joined.splitlines())}
    if not fields.get("uris") or fields.get("enabled", ["yes"])[:1] in ([word] for word in _OFF):
        return None
    return Entry(tuple(fields["uris"]), " ".join(fields.get("suites", [])), tuple(fields.get("components", [])))
