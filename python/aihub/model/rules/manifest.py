"""A stack manifest by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import copying
from ..findings import Finding, Place
from ..resolved import MACHINE, RECONCILE, VERIFY
from ..stack import COPIES, HTTP, METRICS, MODELS, NEVER, Data, Need, Offer, SecretSpec, Stack
from . import not_yet, routes

TAKEN = {
    "agent": "what brings secrets",
    "door": "what answers HTTPS",
    "firewall": "what keeps others out",
    MACHINE: "the machine itself",
    copying.NAME: "what makes copies",
}
TLS = "tls"
"""What the certificate that an instance serves with is called."""


def check_stack(stack: Stack) -> list[Finding]:
    """What is wrong inside one stack.yml that its schema can't tell."""
    return [
        *_name(stack),
        *_repeated(stack),
        *_ports(stack),
        *_behind(stack),
        *_offers(stack),
        *_models(stack),
        *routes.check_offers(stack),
        *_egress(stack),
        *_secrets(stack),
        *_store(stack),
        *_reload(stack),
        *_data(stack),
        *_logs(stack),
        *_itself(stack),
        *_needs(stack),
        *not_yet.check(stack),
    ]


def _name(stack: Stack) -> Iterator[Finding]:
    if stack.name in TAKEN:
        yield Finding((), f'"{stack.name}" is {TAKEN[stack.name]} on each guest: name the stack otherwise')


def _behind(stack: Stack) -> Iterator[Finding]:
    """What only the door of its guest can do."""
    for key, port in stack.gives.items():
        for word in ("inside", "client", "own", "paths") if key != HTTP else ():
            if getattr(port, word) != type(port).model_fields[word].get_default(call_default_factory=True):
                text = f"only `{HTTP}` stands behind its guest's door, and {key} does not: remove this"
                yield Finding(("gives", key, word), text, at_key=True)


def _models(stack: Stack) -> Iterator[Finding]:
    """What only an engine of language models has."""
    for kind, offer in stack.gives.items():
        for word in ("registry", "stand_in", "exactly", "engine") if kind != MODELS else ():
            if word in offer.model_fields_set:
                yield Finding(("gives", kind, word), f"only `{MODELS}` has that: remove this", at_key=True)


def _repeated(stack: Stack) -> Iterator[Finding]:
    lists: dict[tuple[str, ...], Sequence[str]] = {
        ("zones",): stack.zones,
        ("needs", "internet"): stack.needs.internet,
        ("needs", "every"): stack.needs.every,
        **{("gives", kind, "options"): offer.options for kind, offer in stack.gives.items()},
    }
    for place, names in lists.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Finding((*place, index), f'"{name}" is in the list already')


def _ports(stack: Stack) -> Iterator[Finding]:
    seen: dict[int, str] = {}
    for key, port in stack.gives.items():
        first = seen.setdefault(port.port, key)
        # Pages and metrics of one listener are two entries of one port.
        if first != key and stack.gives[first].publish != port.publish:
            other = stack.gives[first].publish
            text = f"port {port.port} is {first}'s already, published to {other}, not {port.publish}"
            yield Finding(("gives", key, "publish"), text)


def _offers(stack: Stack) -> Iterator[Finding]:
    """What a kind says of its consumers' logins is whole, and nothing of it is left unused."""
    for kind, offer in stack.gives.items():
        for key, text in _incomplete(kind, offer, stack):
            yield Finding(("gives", kind, key), text, at_key=True)
    admins = [kind for kind, offer in stack.gives.items() if offer.admin]
    for kind in admins[1:]:
        text = f"aihub has one login in a service, and {admins[0]} names it already"
        yield Finding(("gives", kind, "admin"), text, at_key=True)


def _incomplete(kind: str, offer: Offer, stack: Stack) -> Iterator[tuple[str, str]]:
    if kind == METRICS and offer.strategy:
        yield "strategy", "whoever collects metrics shows its guest's certificate: remove this"
    if offer.passwords and stack.admin is None:
        yield "strategy", "somebody has to replace passwords, and no `admin:` says how aihub's own login is replaced"
    if offer.strategy == "single" and not offer.interrupts:
        yield "strategy", "a change interrupts its consumers, and no `interrupts:` says for how long"
    if offer.interrupts and offer.strategy != "single":
        yield "interrupts", "only with the strategy single a change interrupts: remove this"
    if offer.api and (kind != MODELS or stack.http is None or stack.http.port != offer.port):
        yield "api", f"only {MODELS} on the port of {HTTP} are asked as OpenAI's API is: remove this"
    if kind == MODELS and not offer.api:
        yield "port", "whoever uses models asks as OpenAI's API is asked, and no `api:` says below which path, like /v1"
    if offer.own and offer.client != "required":
        yield "own", "whoever shows no certificate has no name: add `client: required`, or remove this"
    keeps = {"listing": offer.listing, "transfer": offer.transfer, "reads": offer.reads}
    if kind == COPIES and (offer.strategy != "certificate" or not all(keeps.values())):
        text = "who keeps copies has `strategy: certificate`, `listing`, `transfer` and"
        yield "port", f"{text} `reads: [{copying.PASSWORD}]`"
    if kind != COPIES:
        yield from ((key, f"only `{COPIES}` has that: remove this") for key, value in keeps.items() if value)
    if offer.files and not offer.passwords:
        yield "files", "files are for consumers with a password; host, port and name are variables in any case"
    programs = {"dump": offer.dump, "restore": offer.restore, "clear": offer.clear}
    there, lacking = ([key for key, value in programs.items() if bool(value) is want] for want in (True, False))
    if there and lacking:
        yield there[0], f"one is worth nothing without the others, and there is no `{lacking[0]}:`"
    elif offer.dump and offer.strategy is None:
        yield "dump", "nobody logs in here, so there is nothing of a consumer to dump: remove all three"
    if offer.passwords and offer.files and not any("{password}" in text for text in offer.files.values()):
        yield "files", "no file has the {password}"


def _egress(stack: Stack) -> Iterator[Finding]:
    if stack.office != "egress":
        return
    if stack.main_port is None:
        yield Finding(("office",), "the way out for others needs a port, and none is given", at_key=True)
    for key in ("start", "later", "one_of", "every", "secrets", "tls"):
        if getattr(stack.needs, key):
            text = "the way out waits for nothing: remove this, or the office"
            yield Finding(("needs", key), text, at_key=True)


def _secrets(stack: Stack) -> Iterator[Finding]:
    derived = {RECONCILE, f"{RECONCILE}_a", f"{RECONCILE}_b"} if stack.admin else set()
    derived |= {TLS} if stack.needs.tls else set()
    derived |= {VERIFY} if any(offer.passwords for offer in stack.gives.values()) else set()
    begins = tuple(f"{need.name}_" for need in stack.possible)
    for name, spec in stack.needs.secrets.items():
        if name in derived or f"{name}_".startswith(begins):
            text = f'"{name}" is a name that aihub gives to a login or certificate itself: name the secret otherwise'
            yield Finding(("needs", "secrets", name), text, at_key=True)
        yield from _given(name, spec)
        whole = {"hex": 2, "base64": 4}.get(spec.kind, 1)
        if spec.length % whole:
            text = f"{spec.length} characters of {spec.kind} are no whole bytes: take a multiple of {whole}"
            yield Finding(("needs", "secrets", name, "length"), text)


def _given(name: str, spec: SecretSpec) -> Iterator[Finding]:
    if not spec.given:
        return
    for key in ("length", "kind"):
        if key in spec.model_fields_set:
            text = f"a given secret is what somebody types, and has no {key} here: remove this or `given`"
            yield Finding(("needs", "secrets", name, key), text, at_key=True)
    if "rotate" in spec.model_fields_set and spec.rotate != NEVER:
        text = "a given secret is replaced by whoever gave it, with `aihub secrets set`: remove this or write never"
        yield Finding(("needs", "secrets", name, "rotate"), text)


def _store(stack: Stack) -> Iterator[Finding]:
    if stack.office != "secrets":
        return
    if stack.main_port is None:
        yield Finding(("office",), "the agents of all guests ask the store, and no port of it is given", at_key=True)
    for key in ("start", "one_of", "every", "secrets", "tls"):
        if getattr(stack.needs, key):
            text = "the store can't wait for what comes out of it: remove this"
            yield Finding(("needs", key), text, at_key=True)


def _reload(stack: Stack) -> Iterator[Finding]:
    needs = stack.needs
    if stack.reload is None:
        asked: list[tuple[str, ...]] = [
            ("needs", "secrets", name) for name, spec in needs.secrets.items() if spec.on_change == "reload"
        ]
        if needs.tls and needs.tls.on_change == "reload":
            asked.append(("needs", "tls"))
        if needs.on_login_change == "reload":
            asked.append(("needs", "on_login_change"))
        for place in asked:
            text = "a change is to reload the service, and no `reload:` says how: add one, or `on_change: restart`"
            yield Finding(place, text, at_key=True)
    elif (stack.reload.signal is None) == (not stack.reload.exec):
        yield Finding(("reload",), "a reload is either a signal or an exec", at_key=True)


def _data(stack: Stack) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, data in enumerate(stack.data):
        if data.volume in seen:
            yield Finding(("data", index, "volume"), f'volume "{data.volume}" is in the list already')
        seen.add(data.volume)
        yield from _copied(stack, ("data", index), data)


def _copied(stack: Stack, place: Place, data: Data) -> Iterator[Finding]:
    """Each way to copy a volume has what it rests on."""
    if (data.backup == "live") != (data.because is not None):
        text = "only a live copy has a reason: remove this"
        if data.because is None:
            text = "a live copy may be torn: say `because:` why it is whole, or take stopped"
        yield Finding((*place, "because" if data.because else "backup"), text, at_key=data.because is not None)
    if data.backup == "dump" and not any(offer.dump for offer in stack.gives.values()):
        yield Finding((*place, "backup"), "nothing that it gives has a `dump`: take stopped, or live with a reason")
    if (data.backup == "snapshot") != (stack.office == "secrets") and data.backup in ("snapshot", *copying.FILES):
        text = "only the store of secrets is asked for a snapshot: take stopped, or live with a reason"
        if stack.office == "secrets":
            text = "the store's data is copied by its own snapshot: take snapshot, or none"
        yield Finding((*place, "backup"), text)


def _logs(stack: Stack) -> Iterator[Finding]:
    volumes, seen = {data.volume for data in stack.data}, set[str]()
    for index, log in enumerate(stack.logs):
        place, volume = ("logs", index, "file"), log.file.partition("/")[0]
        if volume not in volumes:
            yield Finding(place, f'"{volume}" is no volume of `data`')
        if log.file in seen:
            yield Finding(place, f'"{log.file}" is in the list already')
        seen.add(log.file)
    if stack.logs and stack.reload is None:
        text = "a service goes on writing to the old file until it is told, and no `reload:` says how"
        yield Finding(("logs",), text, at_key=True)


def _needs(stack: Stack) -> Iterator[Finding]:
    seen: dict[str, Need] = {}
    for need in stack.possible:
        first = seen.setdefault(need.name, need)
        if first is not need:
            text = f"{first.kind}'s {first.key} and {need.kind}'s {need.key} would both be \"{need.name}\": rename one"
            one_of = need.key in stack.needs.one_of
            place = ("one_of", need.key) if one_of else ("later" if need.later else "start", need.kind)
            yield Finding(("needs", *place), text, at_key=True)
    for key, kinds in stack.needs.one_of.items():
        for index, kind in enumerate(kinds):
            if kind in stack.gives:
                text = f"it needs {kind} and gives {kind}: an instance would be its own nearest provider"
                yield Finding(("needs", "one_of", key, index), text)
            if kind in kinds[:index]:
                yield Finding(("needs", "one_of", key, index), f'"{kind}" is in the list already')
            if kind in (*stack.needs.start, *stack.needs.later, *stack.needs.every):
                yield Finding(("needs", "one_of", key, index), f"{kind} is needed already: it is there in any case")


def _itself(stack: Stack) -> Iterator[Finding]:
    places: list[tuple[str, str | int, str]] = [("start", kind, kind) for kind in stack.needs.start]
    places += [("later", kind, kind) for kind in stack.needs.later]
    places += [("every", index, kind) for index, kind in enumerate(stack.needs.every)]
    for place, key, kind in places:
        if kind in stack.gives:
            text = f"it needs {kind} and gives {kind}: an instance would be its own nearest provider"
            yield Finding(("needs", place, key), text, at_key=place != "every")
    for index, kind in enumerate(dict.fromkeys(stack.needs.every)):
        if kind in (*stack.needs.start, *stack.needs.later):
            yield Finding(("needs", "every", index), f"{kind} is needed of one already: an instance uses one, or all")
    for kind in stack.needs.later:
        if kind in stack.needs.start:
            text = f"{kind} is needed at the start already: one provider serves an instance, then or later"
            yield Finding(("needs", "later", kind), text, at_key=True)
