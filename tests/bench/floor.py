"""The floor for a Python tool: load the YAML, render every template, one prepared script per guest over ssh.

`variants.prepare` notes once, untimed, what each guest's manifest says is managed there. The timed run then
does what no tool can leave out: it reads hub.yml, renders all templates of roles and stacks for each guest, and
lets each guest compare every managed file (content, mode, owner), its units, its nft table and its containers
in one script, all guests side by side. It prints how many guests differ.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).resolve().parents[2]


def pass_on(value: object, *_: object, **__: object) -> object:
    """Stands for Ansible's filters: the text does not matter here, the work does."""
    return value


def main() -> None:
    """The timed run."""
    import jinja2
    from blank import Blank
    from ruamel.yaml import YAML

    prepared = json.loads(Path(os.environ["BENCH_FLOOR"]).read_text())
    YAML(typ="safe").load(Path(os.environ["AIHUB_HUB"]))
    sources = sorted([*ROOT.glob("roles/*/templates/*.j2"), *ROOT.glob("stacks/*/config/*.j2")])
    engine = jinja2.Environment(undefined=Blank, autoescape=False)
    texts = [source.read_text() for source in sources]
    engine.filters["unique"] = lambda values: list(dict.fromkeys(values))  # a list, as Ansible's
    for name in re.findall(r"\|\s*([a-z_0-9.]+)", "".join(texts)):
        engine.filters.setdefault(name, pass_on)
    templates = [engine.from_string(text) for text in texts]
    for variables in prepared["variables"].values():
        for template in templates:
            template.render(variables)
    with ThreadPoolExecutor(len(prepared["scripts"])) as pool:
        answers = list(pool.map(ask, prepared["scripts"].items()))
    print(json.dumps({"differ": sum(answer != 0 for answer in answers)}))


def ask(item: tuple[str, str]) -> int:
    """One ssh to one guest."""
    guest, script = item
    options = ["-o", "ControlPath=none"] if os.environ["BENCH_SSH"] == "cold" else []
    command = ["ssh", "-F", os.environ["BENCH_SSH_CONFIG"], *options, "-T", guest, "--", "sh"]
    return run(command, input=script.encode(), capture_output=True, check=False).returncode


def script(entries: list[dict[str, str]], units: list[str], containers: bool) -> str:
    """The comparison that a guest runs: silent and 0 when all is as noted."""
    sums = "".join(f"{e['sha256']}  {e['path']}\n" for e in entries)
    stats = "".join(f"{e['path']} {e['mode']} {e['owner']}\n" for e in entries)
    names = " ".join(shlex.quote(e["path"]) for e in entries)
    lines = ["set -e"]
    if entries:
        lines.append(f"printf %s {shlex.quote(sums)} | sha256sum --check --quiet --strict")
        lines.append(f"test \"$(stat --format='%n %04a %u:%g' {names})\" = {shlex.quote(stats.strip())}")
    lines += [f"systemctl is-active --quiet {' '.join(map(shlex.quote, units))}"] if units else []
    lines.append("nft list table inet hub >/dev/null")
    if containers:
        lines.append("docker ps --all --quiet | xargs docker inspect >/dev/null")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
