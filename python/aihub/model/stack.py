"""stack.yml, key by key: what a service is, needs and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .hub import ZoneName
from .types import (
    DAYS,
    HEALTH_PATH,
    HTTP_PATH,
    LAB_IMAGE,
    LOG_FILE,
    Argument,
    Command,
    Key,
    Name,
    NotYet,
    OutsideHost,
    Sentence,
    Strict,
)

OnChange = Literal["restart", "reload", "none"]
Alphabet = Literal["alphanumeric", "hex", "base64"]


class SecretSpec(Strict):
    """A secret that the stack needs; nobody types it."""

    length: int = Field(40, ge=16, le=128, description="Characters of the generated value.")
    kind: Alphabet = Field("alphanumeric", description="What the value is written with.")
    rotate: str = Field(
        "90d",
        pattern=DAYS,
        description="Longest age before `secrets rotate --due` replaces it.",
    )
    on_change: OnChange = Field("restart", description="What a running service needs to take a new value.")


class Tls(Strict):
    """A certificate for the guest's name: `tls.pem` (key and chain) beside the secrets, and the hub's `ca.pem`."""

    rotate: str = Field("30d", pattern=DAYS, description="How long a certificate lives; a new one comes at two thirds.")
    on_change: OnChange = Field("reload", description="What a running service needs to take a new certificate.")


class Needs(Strict):
    """What a stack asks of others."""

    postgres: list[Key] = Field(
        default_factory=list, description="Databases; each gets an owner role and a pair of logins."
    )
    redis: list[Key] = Field(default_factory=list, description="ACL users; each sees only keys under its own prefix.")
    secrets: dict[Key, SecretSpec] = Field(default_factory=dict, description="Secrets of its own.")
    tls: Tls | None = Field(
        default=None, description="A certificate for its guest's name; `tls: {}` takes the defaults."
    )
    on_login_change: OnChange = Field(
        default="restart",
        description="What a running service needs to take a new user and password for a login elsewhere.",
    )
    internet: list[OutsideHost] = Field(
        default_factory=list,
        description="Hosts outside the hub that it must reach; `*.` stands for all below.",
    )
    stacks: list[Name] = Field(default_factory=list, description="Stacks that must run before this one starts.")


class Reload(Strict):
    """How a running service is told to read its files again: a signal, or a command inside its container."""

    service: Name = Field(description="The service in compose.yml.")
    signal: Literal["HUP", "USR1", "USR2"] | None = Field(None, description="A signal for its first process.")
    exec: list[Argument] = Field(default_factory=list, description="A command to run inside its container.")


class Port(Strict):
    """A port that a stack serves."""

    port: int = Field(ge=1, le=65535, description="The TCP port on the guest's address.")
    path: str = Field("/", pattern=HTTP_PATH, max_length=200, description="Where its pages or metrics begin.")
    health: Annotated[
        str, NotYet("nobody asks there in this version, the healthcheck in compose.yml counts; remove `health`")
    ] = Field("", pattern=HEALTH_PATH, max_length=200, description="A path that answers 200 when it is well (not yet).")
    publish: Annotated[
        Literal["none", "zone", "hub", "ingress"],
        NotYet("there is no ingress in this version; take none, zone or hub", values=("ingress",)),
    ] = Field(
        "zone",
        description="Who may connect: declared consumers only, its zone, every zone, or the ingress (not yet).",
    )


_NO_COPIES = NotYet("no copies are made in this version; remove it")


class Data(Strict):
    """A volume whose content matters."""

    volume: Key = Field(description="The volume's name in compose.yml.")
    backup: Literal["restic", "none"] = Field(
        "restic", description="restic: to be kept (no copies are made yet). none: can be made again."
    )
    before: Annotated[Command, _NO_COPIES] = Field(
        "", description="What makes the copy consistent, run before it is taken (not yet)."
    )
    after: Annotated[Command, _NO_COPIES] = Field(
        "", description="What runs when the copy is taken, also after a failure (not yet)."
    )
    restore: Annotated[Command, _NO_COPIES] = Field("", description="What puts a copy back (not yet).")


class Log(Strict):
    """A log file that a stack writes itself; the guest begins a new one each day and reloads the service."""

    file: str = Field(pattern=LOG_FILE, max_length=200, description="VOLUME/FILE, the volume being one of `data`.")
    keep: str = Field("30d", pattern=DAYS, description="How long the old ones are kept, packed.")


class Gpu(Strict):
    """How a stack uses the guest's GPU."""

    need: Literal["none", "shared", "whole"] = Field(
        default="none", description="none, shared with other stacks of the guest, or the whole card."
    )


class Stack(Strict):
    """A Docker Compose project that hub.yml can place on a guest."""

    name: Name = Field(description="The folder's name; not written in stack.yml.")
    title: Annotated[Sentence, StringConstraints(max_length=60)] = Field(description="The service's own name.")
    why: Sentence = Field(description="What the hub has it for, in one sentence.")
    zones: list[ZoneName] = Field(min_length=1, description="Where it may stand; hub.yml decides where it does.")
    uid: int = Field(ge=1, le=65533, description="The user that the service runs as and that owns its secret files.")
    lab: str = Field(
        pattern=LAB_IMAGE,
        max_length=300,
        description="How the lab gets the image: build (lab/Dockerfile), pull, or `skipped: reason`.",
    )
    needs: Needs = Field(default_factory=Needs, description="What it asks of others.")
    gives: dict[Key, Port] = Field(default_factory=dict, description="What it serves.")
    data: list[Data] = Field(default_factory=list, description="Its volumes whose content matters.")
    logs: list[Log] = Field(default_factory=list, description="Log files that it writes itself; they need a `reload`.")
    gpu: Gpu = Field(default=Gpu(), description="How it uses the guest's GPU.")
    reload: Reload | None = Field(
        None, description="How it is reloaded; needed for `logs` and where an `on_change` says reload."
    )
    start_first: bool = Field(False, description="Started before guests without internet converge (egress).")
    waivers: dict[Key, Sentence] = Field(
        default_factory=dict, description="Hardening that compose.yml can't keep, and why."
    )

    @property
    def logins(self) -> dict[str, list[str]]:
        """What it logs in to: the provider's stack and the databases or users there."""
        return {n: k for n, k in (("postgres", self.needs.postgres), ("redis", self.needs.redis)) if k}

    @property
    def main_port(self) -> int | None:
        """The port that consumers log in at: called like the stack, else the first that is not metrics."""
        if self.name in self.gives:
            return self.gives[self.name].port
        return next((p.port for key, p in self.gives.items() if key != "metrics"), None)
