"""The shape of the code: a module imports only from below, and each outside library has one door."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from aihub.model.stack import Office

ROOT = Path(__file__).resolve().parents[2]
AIHUB = ROOT / "python" / "aihub"
PVELAB = ROOT / "python" / "pvelab" / "src" / "pvelab"

# From the ground up: a module imports only from the rungs below its own, and from its own rung.
LADDER = [
    {
        "bundle",
        "errors",
        "interrupt",
        "jobs",
        "names",
        "paths",
        "crashpoint",
        "capture",
        "parallel",
        "process",
        "reaper",
        "words",
    },
    {"model"},
    {"reading"},
    {"state"},
    {"plan", "screen", "options"},
    {"render"},
    {"ssh"},
    {"proxmox"},
    {"node"},
    {"guests"},
    {"services"},
    {"vault", "secrets"},
    {"backup"},
    {"targets"},
    {"owners"},
    {"checks", "report"},
    {"verbs"},
    {"cli"},
]
DOORS = {
    "proxmoxer": {"proxmox/client.py"},
    "ansible_runner": {"guests/ansible.py"},
    "httpx": {"services/http.py"},
    "docker": {"guests/containers.py", "checks/context.py"},
    "ruamel": {"reading/document.py"},
    "typer": {"cli.py"},
    "hvac": {"vault/client.py"},
    "pyrage": {"secrets/age.py"},
    "cryptography": {"vault/certificates.py"},
    "testinfra": {"checks/shell.py", "checks/fixtures.py", "checks/context.py"},
    "subprocess": {
        "process.py",
        "capture.py",
        "guests/last_words/on_guest.py",
        "guests/logs/on_guest.py",
        "guests/probe/on_guest.py",
        *(f"guests/probe/parts/{name}.py" for name in ("files", "leaving", "tables", "units")),
        "secrets/agent/on_guest.py",
        "checks/leaks/on_guest.py",
    },
}


@cache
def parsed(path: Path) -> ast.Module:
    """A module as Python reads it, for all tests that look at it."""
    return ast.parse(path.read_text())


@cache
def modules() -> dict[str, tuple[str, ...]]:
    """Every module with the full names of all that it imports."""
    paths = sorted(AIHUB.rglob("*.py"))
    return {name: tuple(imports(name, parsed(p))) for p in paths if (name := str(p.relative_to(AIHUB)))}


def imports(name: str, tree: ast.Module, top: str = "aihub") -> Iterator[str]:
    """Full names of everything a module imports, relative ones resolved."""
    package = [top, *Path(name).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def level(parts: list[str]) -> int | None:
    """The rung of a module below aihub; None for what is on no rung."""
    return next((n for n, rung in enumerate(LADDER) if parts[0] in rung), None)


def test_a_module_imports_only_from_below() -> None:
    wrong = []
    for name, every in modules().items():
        own = level(list(Path(name).with_suffix("").parts))
        for found in every:
            parts = found.split(".")
            other = level(parts[1:]) if parts[0] == "aihub" and len(parts) > 1 else None
            if own is not None and other is not None and other > own:
                wrong.append(f"{name} imports {found}")
    assert not wrong


def test_every_module_stands_on_the_ladder() -> None:
    names = {name for name in modules() if not name.endswith("__init__.py")}
    assert not {name for name in names if level(list(Path(name).with_suffix("").parts)) is None}


def on_loading() -> dict[str, set[str]]:
    """Of each module the modules of ours that it imports while it is being loaded itself."""
    paths = {_dotted(name): AIHUB / name for name in modules()}
    found = {}
    for name, path in paths.items():
        top = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        every = list(imports(str(path.relative_to(AIHUB)), ast.Module(top, [])))
        # Of `from aihub import parallel` the module is meant, not the package.
        packages = {one.rpartition(".")[0] for one in every if one in paths}
        found[name] = {one for one in every if one in paths and one not in packages}
        found[name].discard(name)
    return found


def _dotted(name: str) -> str:
    return ".".join(["aihub", *Path(name).with_suffix("").parts]).removesuffix(".__init__")


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not in_circles(on_loading())


def in_circles(waiting: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left when every module is taken away that imports nothing of what is left."""
    while free := {name for name, rest in waiting.items() if not rest & waiting.keys()}:
        waiting = {name: rest for name, rest in waiting.items() if name not in free}
    return waiting


def test_a_circle_is_seen() -> None:
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}).keys() == {"a", "b", "c"}


def test_the_lab_s_modules_import_each_other_in_no_circle() -> None:
    """Imports inside of functions and for types alone count, too."""
    paths = {str(p.relative_to(PVELAB)): p for p in sorted(PVELAB.rglob("*.py"))}
    names = {name: ".".join(["pvelab", *Path(name).with_suffix("").parts]).removesuffix(".__init__") for name in paths}
    found = {}
    for name, path in paths.items():
        every = {one for one in imports(name, parsed(path), "pvelab") if one in names.values()}
        # Of `from pvelab.api import ha` the module is meant, not the package.
        packages = {one.rpartition(".")[0] for one in every}
        found[names[name]] = every - packages - {names[name]}
    assert not in_circles(found)


@pytest.mark.parametrize("library", DOORS)
def test_an_outside_library_has_one_door(library: str) -> None:
    found = {name for name, every in modules().items() if any(i.split(".")[0] == library for i in every)}
    assert found <= DOORS[library]


def test_the_lab_knows_nothing_of_aihub() -> None:
    for path in PVELAB.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) aihub", path.read_text(), re.MULTILINE), path


def test_the_node_s_side_knows_the_names_and_nothing_else_of_aihub() -> None:
    for path in (ROOT / "python" / "metal").rglob("*.py"):
        for line in re.findall(r"^[ \t]*(?:from|import) aihub.*", path.read_text(), re.MULTILINE):
            assert re.fullmatch(r"from aihub\.names import .+|from aihub import names( as \w+)?", line), path


SPELLED = re.compile(
    r"aihub:v1|/run/aihub|(?<!ai)hub-\{|hub_\{|hub-walls|hub-dns|hub-unseal|/etc/hub-node|(/run|/opt|/var/lib)/hub/(\{|%s)"
)


def test_a_derived_name_is_spelled_in_one_place() -> None:
    """The programs that run on guests by themselves are the exception: they import nothing of ours."""
    folders = [AIHUB, ROOT / "python" / "metal", ROOT / "stacks"]
    files = [
        p for folder in folders for p in folder.rglob("*.py") if p.name != "on_guest.py" and p.parent.name != "parts"
    ]
    lines = [f"{p}: {line}" for p in files for line in p.read_text().splitlines() if SPELLED.search(line)]
    assert not [line for line in lines if not line.startswith(f"{AIHUB / 'names.py'}:")]


NAMES_A_TARGET = {"model/target.py", "targets/__init__.py", "state/directory.py"}


def names_a_target(node: ast.AST | None) -> bool:
    """Whether an expression is a target's name, one of the two, or several of them."""
    match node:
        case ast.Constant(value=word):
            return word in ("lab", "pve")
        case ast.Name(id=name):
            return name in ("LAB", "PVE")
        case ast.Attribute(attr=name):
            return name in ("LAB", "PVE", "word")
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return any(names_a_target(part) for part in parts)
    return False


def chooses_by_name(tree: ast.Module) -> Iterator[int]:
    """The lines where something is compared with a target's name, or looked up by it."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
            case ast.MatchValue(value=value):
                sides = [value]
            case ast.Subscript(value=ast.Dict(keys=keys)):
                sides = list(keys)
            case _:
                continue
        if any(names_a_target(side) for side in sides):
            yield node.lineno


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('1 if target == "lab" else 2', [1]),
        ('if target not in ("lab", "pve"):\n    pass', [1]),
        ("x = hub.target is PVE", [1]),
        ("x = hub.target.word != other", [1]),
        ('match target:\n    case "pve":\n        pass', [2]),
        ('x = {"lab": 1, "pve": 2}[target]', [1]),
        ('x = hub.target.needs_people and place == ("nodes", name, "size")', []),
    ],
)
def test_a_choice_by_name_is_seen(code: str, found: list[int]) -> None:
    assert list(chooses_by_name(ast.parse(code))) == found


def test_what_holds_at_a_target_is_asked_for_and_never_its_name() -> None:
    paths = [p for p in AIHUB.rglob("*.py") if str(p.relative_to(AIHUB)) not in NAMES_A_TARGET]
    assert not [f"{p}:{line}" for p in paths for line in chooses_by_name(parsed(p))]


STACK_NAMES = {path.parent.name for path in ROOT.glob("stacks/*/stack.yml")}
STORE = "vault"  # the protocol of the secret store, whatever server speaks it
PATHS = {"/embeddings"}  # of OpenAI's API, whatever engine serves it


def enumerated() -> set[str]:
    """The words that the models themselves enumerate: offices, engines of language models."""
    found = set()
    for path in (AIHUB / "model").glob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal":
                found |= {word.value for word in ast.walk(node.slice) if isinstance(word, ast.Constant)}
    return {word for word in found if isinstance(word, str)}


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """What only explains: a text that stands by itself."""
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


@cache
def words_in(text: str) -> frozenset[str]:
    """Its words; several that hyphens join are one."""
    return frozenset(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower()))


def names_a_stack(tree: ast.Module, stacks: set[str], words: set[str]) -> Iterator[str]:
    """Every identifier and string in which a stack is named, but for an enumerated word that stands alone."""
    explaining = docstrings(tree)
    for node in ast.walk(tree):
        text: object = ""
        match node:
            case ast.Constant(value=text) if node in explaining or text in words:
                continue
            case ast.Constant(value=text):
                pass
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=text):
                pass
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.alias(name=text):
                pass
        if isinstance(text, str) and (found := words_in(text) & stacks):
            yield f"line {getattr(node, 'lineno', 0)}: {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('x = "sql"', True),
        ('x = "stacks/sql/compose.yml"', True),
        ('x = f"{guest}/sql_main"', True),
        ("def sql_start(): pass", True),
        ("x = hub.sql", True),
        ("call(sql=1)", True),
        ('"""Like sql."""', False),
        ('x = "mysql", "egress"', False),
        ('x = "the egress proxy"', True),
    ],
)
def test_a_stack_s_name_is_seen(code: str, found: bool) -> None:
    assert bool(list(names_a_stack(ast.parse(code), {"sql", "egress"}, {"egress"}))) == found


def test_nothing_under_aihub_names_a_stack() -> None:
    assert len(STACK_NAMES) >= 7
    # What a hub has at most once is called by its office, in the core as in hub.yml's words.
    wanted, words = STACK_NAMES - {STORE, *get_args(Office)}, enumerated() | PATHS
    found = {p: list(names_a_stack(parsed(p), wanted, words)) for p in AIHUB.rglob("*.py")}
    assert not [f"{path}: {one}" for path, all_of in found.items() for one in all_of]


def test_the_unrelated_package_called_restic_is_no_dependency() -> None:
    project = tomllib.loads((ROOT / "python" / "pyproject.toml").read_text())["project"]
    assert not [d for d in project["dependencies"] if re.match(r"restic\b", d)]
    assert not re.search(r"^restic==", (ROOT / "python" / "requirements.lock").read_text(), re.MULTILINE)


def test_the_lock_file_names_every_hash_and_no_index() -> None:
    text = (ROOT / "python" / "requirements.lock").read_text()
    assert "://" not in text
    pins = re.findall(r"^[a-z0-9][^ \n]*==", text, re.MULTILINE)
    assert len(pins) > 50
    assert text.count("--hash=sha256:") >= len(pins)


def test_a_playbook_reads_as_a_sentence() -> None:
    for path in (ROOT / "playbooks").glob("*.yml"):
        assert len(path.read_text().splitlines()) <= 20, path
