"""stack.yml, key by key: what a service is, needs and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, StringConstraints

from .engine import Engine
from .hub import ZoneName
from .types import (
    DAYS,
    DAYS_OR_NEVER,
    HEALTH_PATH,
    HTTP_PATH,
    LAB_IMAGE,
    LOG_FILE,
    LOGIN,
    SECONDS,
    Argument,
    DoorPath,
    FileText,
    Key,
    Name,
    NotYet,
    Option,
    OutsideHost,
    Sentence,
    Size,
    Strict,
)

OnChange = Literal["restart", "reload", "none"]
Copied = Literal["stopped", "live", "dump", "snapshot", "none"]
Alphabet = Literal["alphanumeric", "hex", "base64"]
Strategy = Literal["pair", "overlap", "single", "certificate"]
AdminStrategy = Literal["pair", "overlap", "single"]
Office = Literal["secrets", "egress"]
HTTP = "http"
"""The kind that the door of its guest serves, and what else is given on its port."""
METRICS = "metrics"
COPIES = "restic"
"""The kind whose givers keep copies of what lies on guests: each guest has a repository of its own there."""
MODELS = "models"
"""The kind whose givers serve the language models of hub.yml; they are called as the models' `engine`."""
LOGIN_FILES = {"user": "{user}", "password": "{password}", "login": "{user}\n{password}"}
"""What a consumer gets with a password. Both in one file as well: two are not replaced at the same moment."""
NEVER = "never"
_STAND_IN, _SKIPPED = "stand-in: ", "skipped: "


def stand_in_of(lab: str) -> str:
    """What answers in the lab in place of a program, where `lab:` says so; else empty."""
    return lab.removeprefix(_STAND_IN) if lab.startswith(_STAND_IN) else ""


def skipped_of(lab: str) -> str:
    """Why something does not run in the lab, where `lab:` says so; else empty."""
    return lab.removeprefix(_SKIPPED) if lab.startswith(_SKIPPED) else ""


class SecretSpec(Strict):
    """A secret that the stack needs; nobody types it, unless it is given."""

    length: int = Field(40, ge=16, le=128, description="Characters of the generated value.")
    kind: Alphabet = Field("alphanumeric", description="What the value is written with.")
    rotate: str = Field(
        "90d",
        pattern=DAYS_OR_NEVER,
        description="Longest age before `secrets rotate --due` replaces it; never for what encrypts kept data.",
    )
    on_change: OnChange = Field("restart", description="What a running service needs to take a new value.")
    login: str | None = Field(
        None,
        pattern=LOGIN,
        max_length=100,
        description="Whom a person signs in as with it, where {domain} is the hub's; `aihub secrets show` tells it.",
        examples=["admin@{domain}"],
    )
    given: bool = Field(
        False, description="A person gives it, with `aihub secrets set`; until then the instance waits."
    )


class Tls(Strict):
    """A certificate for the guest's name: `tls.pem` (key and chain) beside the secrets, and the hub's `ca.pem`."""

    rotate: str = Field("30d", pattern=DAYS, description="How long a certificate lives; a new one comes at two thirds.")
    on_change: OnChange = Field("reload", description="What a running service needs to take a new certificate.")


class Need(NamedTuple):
    """One thing that a stack asks of others: something of a kind, by a name of its own."""

    kind: str
    key: str
    options: Mapping[str, str]
    later: bool

    @property
    def name(self) -> str:
        """What its files and its entry in the store begin with."""
        return f"{self.kind}_{self.key}"


def _by_name(value: Any) -> Any:
    """`[main]` is `{main: {}}`. Raises ValueError for a name that is there twice."""
    if isinstance(value, dict):
        return {key: {} if options is None else options for key, options in value.items()}
    if not isinstance(value, list):
        return value
    for index, name in enumerate(value):
        if name in value[:index]:
            raise ValueError(f'"{name}" is in the list already')
    return {name: {} for name in value if isinstance(name, str)} if all(isinstance(n, str) for n in value) else value


Wanted = Annotated[
    dict[Key, dict[Key, Option]],
    BeforeValidator(_by_name, json_schema_input_type=list[Key] | dict[Key, dict[Key, Option] | None]),
]
"""Names of one's own, with options where the kind has some."""


class Needs(Strict):
    """What a stack asks of others."""

    start: dict[Key, Wanted] = Field(
        default_factory=dict,
        description="KIND: names of its own. Must be there before it starts: databases, users, keys.",
        examples=[{"sql": ["main"]}],
    )
    later: dict[Key, Wanted] = Field(
        default_factory=dict,
        description="KIND: names of its own. Met once everything runs; its files may be missing at the start.",
    )
    one_of: dict[Key, Annotated[list[Key], Field(min_length=2, max_length=8)]] = Field(
        default_factory=dict,
        description="A name of its own: KINDs, of which it can use any. As under `start`, of the kind that is nearest.",
        examples=[{"documents": ["vectors", "sql"]}],
    )
    every: list[Key] = Field(
        default_factory=list,
        description="KINDs, of each of which it uses all that its zone gives, many or none; what its `config` makes of "
        "them is its own. Only for kinds where nobody logs in.",
        examples=[["models"]],
    )
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


class Reload(Strict):
    """How a running service is told to read its files again: a signal, or a command inside its container."""

    service: Name = Field(description="The service in compose.yml.")
    signal: Literal["HUP", "USR1", "USR2"] | None = Field(None, description="A signal for its first process.")
    exec: list[Argument] = Field(default_factory=list, description="A command to run inside its container.")


class Program(Strict):
    """A program in a container of the stack; its last argument is what a consumer's objects are called."""

    service: Name = Field(description="The service in compose.yml.")
    exec: list[Argument] = Field(min_length=1, description="The command, without that name.")


class Offer(Strict):
    """What a stack gives of one kind: a port, and what those get who log in there."""

    port: int = Field(ge=1, le=65535, description="The TCP port on the guest's address.")
    inside: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="http only: the port of 127.0.0.1 where its container is published, if that is another one.",
    )
    client: Literal["none", "required"] = Field(
        "none", description="http only: whether who connects must show a certificate of this hub."
    )
    paths: list[DoorPath] = Field(
        default_factory=list,
        description="http only: what its door passes on, like /v1/*; everything, where there is none. aihub is inside.",
    )
    own: bool = Field(
        False,
        description="http only: whether who connects reaches only what lies below /NAME/, NAME being the one in the "
        "certificate that it shows.",
    )
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
    tls: Literal["direct", "negotiated"] = Field(
        "direct",
        description="Where it serves with a certificate: from the first byte, or after words of its own protocol, "
        "so that its own checks look at the certificate.",
    )
    connections: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="How many one guest of those that need it may have open here; its firewall holds that.",
    )
    strategy: Strategy | None = Field(
        None,
        description="How a consumer's login is replaced. pair: two logins that act as one owner. overlap: the new "
        "password works beside the old. single: a change interrupts. certificate: a new one. None: nobody logs in.",
    )
    admin: AdminStrategy | None = Field(
        None, description="How aihub's own login there is replaced; none where its reconcile.py needs none."
    )
    interrupts: str | None = Field(
        None,
        pattern=SECONDS,
        description="For `single`: how long a change may keep a consumer out, its restart included.",
    )
    files: dict[Key, FileText] = Field(
        default_factory=dict,
        description="What a consumer gets: file KIND_NAME_KEY with this text, where {user}, {password}, {name}, {host} "
        "and {port} stand for their values. With a password and none of these: user, password, and both as login.",
    )
    dump: Program | None = Field(
        None,
        description="What writes all that one consumer keeps here to stdout, consistent and without roles and "
        "passwords. Its exit code decides; a consumer that it does not know is a failure.",
    )
    restore: Program | None = Field(
        None,
        description="What puts such a dump from stdin back, where the consumer's objects are there and empty. "
        "Anything but a whole one is a failure.",
    )
    clear: Program | None = Field(
        None,
        description="What removes all that one consumer keeps here, so that a dump can be restored; what must be there "
        "for its login the next `up` makes anew.",
    )
    listing: Program | None = Field(
        None, description="For `restic`: what writes the snapshots of one consumer to stdout, as restic lists them."
    )
    transfer: Program | None = Field(
        None,
        description="For `restic`: what takes copies over from another consumer's repository into one consumer's: its "
        "standard input names the other repository, then its key, then a snapshot in each line.",
    )
    reads: list[Key] = Field(
        default_factory=list,
        description="Secrets of its consumers that it is handed, too: file KIND_NAME_SECRET, NAME as in `consumers`.",
    )
    options: list[Key] = Field(default_factory=list, description="The options that a need of this kind may have.")
    api: str = Field(
        "",
        pattern=HEALTH_PATH,
        max_length=200,
        description="For `models`: the path on its http port below which it answers as OpenAI's API does, like /v1; a "
        "model is asked for by its `weights`.",
    )
    registry: OutsideHost | None = Field(
        None, description="For `models`: the registry that weights come from, which the lab serves itself."
    )
    engine: Engine = Field(Engine(), description="For `models`: what its models can be, and be asked to.")
    routes: bool = Field(
        False,
        description="Whether it acts on `routes` of hub.yml and on `fallback` of its models; it needs every `models`.",
    )
    stand_in: Sentence | None = Field(
        None, description="For `models`: the small real model that answers in the lab in place of each declared one."
    )
    exactly: int | None = Field(
        None,
        ge=1,
        le=100,
        description="For `models`: how many one instance serves, no more and no fewer; else any number.",
    )

    @property
    def passwords(self) -> bool:
        """Whether its consumers log in with one."""
        return self.strategy in ("pair", "overlap", "single")

    @property
    def texts(self) -> Mapping[str, str]:
        """What a consumer gets, by the last part of the file's name."""
        return LOGIN_FILES if self.passwords and not self.files else self.files


class Data(Strict):
    """A volume whose content matters, and how a copy of it is whole."""

    volume: Key = Field(description="The volume's name in compose.yml.")
    backup: Copied = Field(
        description="stopped: copied while the instance is stopped. live: while it runs, for the reason in `because`. "
        "dump: what the `dump` of each kind that it gives writes is kept, not the volume. snapshot: for the office "
        "secrets, what its API gives as its snapshot. none: it can be made again."
    )
    because: Sentence | None = Field(None, description="For `live`: why a copy of it is whole while it is in use.")


class Log(Strict):
    """A log file that a stack writes itself; the guest begins a new one each day and reloads the service."""

    file: str = Field(pattern=LOG_FILE, max_length=200, description="VOLUME/FILE, the volume being one of `data`.")
    keep: str = Field("30d", pattern=DAYS, description="How long the old ones are kept, packed.")


class Gpu(Strict):
    """How a stack uses the guest's GPU."""

    need: Literal["none", "shared", "whole"] = Field(
        default="none",
        description="none, shared with other stacks of the guest, or the whole card; all its containers get it.",
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
        description="How the lab gets the image: build (lab/Dockerfile), pull, `stand-in: name` (lab/Dockerfile holds "
        "another program that answers in its place; every table names it), or `skipped: reason`.",
    )
    needs: Needs = Field(default_factory=Needs, description="What it asks of others.")
    gives: dict[Key, Offer] = Field(default_factory=dict, description="KIND: what it serves; the main one first.")
    data: list[Data] = Field(default_factory=list, description="Its volumes whose content matters.")
    logs: list[Log] = Field(default_factory=list, description="Log files that it writes itself; they need a `reload`.")
    gpu: Gpu = Field(default=Gpu(), description="How it uses the guest's GPU.")
    reload: Reload | None = Field(
        None, description="How it is reloaded; needed for `logs` and where an `on_change` says reload."
    )
    office: Office | None = Field(
        None,
        description="What a hub has at most once. secrets: keeps all secrets and makes certificates. "
        "egress: the way out of zones without internet; it starts before their guests are configured.",
    )
    memory: Size = Field(description="What it needs at least, all its containers together.", examples=["512MiB"])
    waivers: dict[Key, Sentence] = Field(
        default_factory=dict, description="Hardening that compose.yml can't keep, and why."
    )

    @property
    def possible(self) -> tuple[Need, ...]:
        """Everything that it may ask of others: its wants, and every kind of what it needs one of."""
        one_of = (
            Need(kind, key, {}, False) for key, kinds in self.needs.one_of.items() for kind in dict.fromkeys(kinds)
        )
        return (*self.wants, *one_of)

    def using(self, kinds: Mapping[str, str]) -> Stack:
        """The stack with one kind for each name of `one_of`, as if it were needed by itself."""
        start = {kind: dict(names) for kind, names in self.needs.start.items()}
        for key, kind in kinds.items():
            start.setdefault(kind, {})[key] = {}
        rest = {key: every for key, every in self.needs.one_of.items() if key not in kinds}
        return self.model_copy(update={"needs": self.needs.model_copy(update={"start": start, "one_of": rest})})

    @property
    def wants(self) -> tuple[Need, ...]:
        """Everything that it asks of others, in the order of its stack.yml; of `one_of` what was chosen."""
        places = ((self.needs.start, False), (self.needs.later, True))
        return tuple(
            Need(kind, key, options, later)
            for needs, later in places
            for kind, names in needs.items()
            for key, options in names.items()
        )

    @property
    def builds(self) -> bool:
        """Whether the lab makes its image by lab/Dockerfile."""
        return self.lab == "build" or bool(self.stand_in)

    @property
    def stand_in(self) -> str:
        """What answers in the lab in place of the program itself; empty where that is the program."""
        return stand_in_of(self.lab)

    @property
    def skipped(self) -> str:
        """Why it does not run in the lab; empty where it does."""
        return skipped_of(self.lab)

    @property
    def admin(self) -> AdminStrategy | None:
        """How aihub's own login in it is replaced; None where it has none."""
        return next((offer.admin for offer in self.gives.values() if offer.admin), None)

    @property
    def delivered(self) -> bool:
        """Whether an agent brings its instances anything: secrets, logins, a certificate, whom to trust."""
        return bool(self._wanted or self.admin or any(offer.reads for offer in self.gives.values()))

    @property
    def _wanted(self) -> bool:
        return bool(self.needs.secrets or self.needs.tls or self.possible or self.needs.every)

    @property
    def needs_store(self) -> bool:
        """Whether it can't run without the store: for what an agent brings, or for its guest's door."""
        return self.delivered or self.http is not None

    @property
    def http(self) -> Offer | None:
        """Where it answers HTTP, and so stands behind its guest's door."""
        return self.gives.get(HTTP)

    @property
    def main_port(self) -> int | None:
        """The first port that it gives and that is not metrics."""
        return next((offer.port for kind, offer in self.gives.items() if kind != METRICS), None)
