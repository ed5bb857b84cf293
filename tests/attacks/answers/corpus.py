"""Hostile answers of a guest, as data: each a few lines of Python that run in its place.

`BY_FILE` and `ALIKE` begin every program: `honest` is what an honest guest would answer now, `say` answers with an
object, `raw` with bytes. `BAD` is no answer at all, so that the guest must be unknown. `LIES` have the right shape, so
that they may be believed, of this guest and of no other.
"""

from __future__ import annotations

BY_FILE = """
import json, os, sys, time
sys.stdin.buffer.read()
with open(sys.argv[1]) as handle:
    honest = json.load(handle)
"""
BY_PYTHON = """#!/usr/bin/python3 -I
import json, os, subprocess, sys, time
asked = sys.stdin.buffer.read()
done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], input=asked, stdout=subprocess.PIPE).stdout
try:
    honest = json.loads(done)
    honest["manifest"]
except (ValueError, KeyError, TypeError):  # another program than the one that looks into a guest
    sys.stdout.buffer.write(done)
    sys.exit(0)
"""
"""In place of a guest's python3: root there lets the real one answer, and changes that."""
ALIKE = """
manifest, actual = honest["manifest"], honest["actual"]
def raw(data, stream=1):
    try:
        while data:
            data = data[os.write(stream, data):]
    except BrokenPipeError:
        os._exit(0)
def say(what):
    raw(json.dumps(what).encode())
def both(change):
    for one in (manifest["entries"], actual):
        change(one["base"])
def number(text):
    raw(json.dumps(honest).replace('"format": 1', '"format": ' + text).encode())
def endless(data, stream=1):
    while True:
        raw(data, stream)
"""
FORGED = r"/etc/x\n- db                delete: VM 110 with its disk  as token"
FILE = '{"content": "x", "mode": "0644", "owner": "0:0"}'


def _key(kind: str, name: str, value: str) -> str:
    """One more entry of a kind, in the manifest and as it is now."""
    return f"name = {name}\nboth(lambda base: base['{kind}'].update({{name: {value}}})); say(honest)"


def _set(place: str, value: str) -> str:
    return f"honest{place} = {value}\nsay(honest)"


UNIT = '{"boot": "enabled", "active": "active"}'
CONTAINER = '{"image": "x", "configuration": "x", "state": "running", "health": "none"}'

SHAPES = {
    "nothing": "",
    "no object": "say([honest])",
    "a number": "raw(b'7')",
    "null": "raw(b'null')",
    "text": "raw(b'Welcome to Debian!\\n')",
    "half of it": "raw(json.dumps(honest).encode()[:-40])",
    "more after it": "say(honest); raw(b'{}')",
    "a greeting before it": "raw(b'Hello\\n'); say(honest)",
    "no field": "say({})",
    "without secrets": "del honest['secrets']; say(honest)",
    "without manifest": "del honest['manifest']; say(honest)",
    "an unknown field": "honest['package_hosts'] = ['evil.example']; say(honest)",
    "an unknown field of the manifest": "manifest['allowed'] = ['evil.example']; say(honest)",
    "manifest is a list": _set("['manifest']", "[]"),
    "manifest is null": _set("['manifest']", "None"),
    "desired is a list": "manifest['desired'] = [['base', 'x']]; say(honest)",
    "entries are null": "manifest['entries'] = None; say(honest)",
    "an entry is a text": "manifest['entries']['base'] = 'x'; say(honest)",
    "a file is a number": _key("files", "'/etc/x'", "7"),
    "a file without mode": _key("files", "'/etc/x'", '{"content": "x", "owner": "0:0"}'),
    "a unit is null": _key("units", "'x.service'", "None"),
    "a table is a list": _key("tables", "'inet x'", "[]"),
    "a container is a list": "both(lambda base: base['stacks'].update({'x': []})); say(honest)",
    "actual is empty": _set("['actual']", "{}"),
    "actual lacks a file": "manifest['entries']['base']['files']['/etc/x'] = None; say(honest)",
    "actual has one more": "actual['base']['files']['/etc/x'] = None; say(honest)",
    "another format": "manifest['format'] = 2; say(honest)",
    "the format is a text": "manifest['format'] = '1'; say(honest)",
    "the format is true": "manifest['format'] = True; say(honest)",
    "secrets that nobody asked for": "honest['secrets']['/run/hub/x'] = None; say(honest)",
    "lines that nobody asked for": "honest['lines']['/opt/hub/egress/allowed-hosts'] = ['evil.example']; say(honest)",
    "data is a text": _set("['data']", "'postgres'"),
    "data holds numbers": _set("['data']", "[1, 2]"),
    "what is there is a list": _set("['there']", "[]"),
    "a stack there with two words": _set("['there']['stacks']", "{'a b': []}"),
    "a stack there on two lines": _set("['there']['stacks']", "{'x': ['unit a\\nunit b']}"),
    "a thing there of no kind": _set("['there']['others']", "[{'name': 'x'}]"),
    "a thing there on two lines": _set("['there']['others']", "[{'kind': 'container', 'name': 'x\\n- db'}]"),
    "10,000 things there": _set("['there']['others']", "[{'kind': 'container', 'name': 'x'}] * 10000"),
    "what it was made from is a list": "manifest['made_from'] = []; say(honest)",
    "the agent is a list": _set("['agent']", "[]"),
    "the agent without entries": _set(
        "['agent']", "{'login': {'ok': True, 'error': '', 'since': ''}, 'tls': {}, 'errors': []}"
    ),
    "the agent's version is a text": _set(
        "['agent']",
        "{'login': {'ok': True, 'error': '', 'since': ''}, 'entries': {'a': {'version': '1', 'applied': 1}}, "
        "'tls': {}, 'errors': []}",
    ),
}  # fmt: skip
NUMBERS = {
    "NaN": "number('NaN')",
    "Infinity": "number('Infinity')",
    "1e999": "number('1e999')",
    "a number of 100,000 digits": "number('9' * 100000)",
    "a number of 4,000 digits": "number('9' * 4000)",
    "a negative version": _set(
        "['agent']",
        "{'login': {'ok': True, 'error': '', 'since': ''}, 'entries': {'a': {'version': -1, 'applied': 1}}, "
        "'tls': {}, 'errors': []}",
    ),
}  # fmt: skip
SIZES = {
    "endless blanks": "endless(b' ' * 65536)",
    "endless text": "raw(b'{\"manifest\": \"'); endless(b'x' * 65536)",
    "endless standard error": "endless(b'x' * 65536, 2)",
    "endless lines of standard error": "endless(b'Permission denied\\n' * 4096, 2)",
    "nested 100,000 times": "raw(b'{\"manifest\": ' + b'[' * 100000 + b']' * 100000 + b'}')",
    "nested 1,000 times, as an object": "raw(b'{\"a\": ' * 1000 + b'1' + b'}' * 1000)",
    "a million entries": "raw(b'{\"data\": [' + b'0,' * 1000000 + b'0]}')",
    "a million empty lists": "raw(b'{\"data\": [' + b'[],' * 1000000 + b'[]]}')",
    "a million keys": "raw(b'{' + b','.join(b'\"%d\":0' % n for n in range(1000000)) + b'}')",
    "100,000 files with long names": "say({**honest, 'data': ['x' * 200] * 100000})",
    "a name of a megabyte": _key("files", "'/' + 'x' * 1000000", "None"),
    "300,000 keys of one object": "raw(b'{' + b','.join(b'\"%x\":0' % n for n in range(300000)) + b'}')",
}
TEXTS = {
    "invalid UTF-8": "raw(json.dumps(honest).encode().replace(b'\"base\"', b'\"\\xff\\xfe\"', 1))",
    "UTF-16": "raw(json.dumps(honest).encode('utf-16'))",
    "half a surrogate": _key("files", "'/etc/\\ud800'", "None"),
    "a key twice": "raw(json.dumps(honest).encode()[:-1] + b', \"data\": []}')",
    "a key twice, deep": 'raw(json.dumps(honest).replace(\'"format": 1\', \'"format": 2, "format": 1\').encode())',
    "a newline in a file's name": _key("files", f"'{FORGED}'", "None"),
    "a carriage return in a file's name": _key("files", "'/etc/x\\r- db  delete: VM 110'", "None"),
    "a line separator in a file's name": _key("files", "'/etc/x\\u2028- db  delete: VM 110'", "None"),
    "an escape in a file's name": _key("files", "'/etc/\\x1b[2J\\x1b[1;1Hnothing to change'", "None"),
    "an escape of one byte": _key("files", "'/etc/\\x9b2J'", "None"),
    "a name that is turned round": _key("files", "'/etc/\\u202egnp.x'", "None"),
    "a name of no width": _key("files", "'/etc/\\u200bx'", "None"),
    "a zero byte in a name": _key("files", "'/etc/\\x00x'", "None"),
    "a link to the clipboard": _key("files", "'/etc/\\x1b]52;c;cm0gLXJm\\x07'", "None"),
    "a newline in a unit's name": _key("units", "'x\\n- db delete.service'", UNIT),
    "a newline in a unit's state": _key("units", "'x.service'", '{"boot": "x\\n- db", "active": "active"}'),
    "a newline in a table": _key("tables", "'inet x\\n- db'", "None"),
    "a newline in a mode": _key("files", "'/etc/x'", FILE.replace("0644", "0644\\n- db")),
    "a newline in an owner": _key("files", "'/etc/x'", FILE.replace("0:0", "0:0\\n")),
    "a newline in a role": "manifest['desired']['stack/x\\n- db'] = 'x'; say(honest)",
    "a role that climbs": "manifest['desired']['stack/../../db'] = 'x'; say(honest)",
    "a role in capitals": "manifest['desired']['stack/DB'] = 'x'; say(honest)",
    "a container with a newline": (
        f"both(lambda base: base['stacks'].update({{'x': {{'a\\n- db': {CONTAINER}}}}})); say(honest)"
    ),
    "a file that is no path": _key("files", "'db: delete VM 110'", "None"),
    "a hash with a newline": "manifest['desired']['base'] = 'x\\n- db'; say(honest)",
    "a secret's mode with an escape": (
        "for path in list(honest['secrets']): honest['secrets'][path] = {'mode': '\\x1b[2J', 'owner': '0:0'}\n"
        "honest['secrets'].setdefault('/run/hub/x', None); say(honest)"
    ),
}
TIMES = {
    "silence": "time.sleep(600)",
    "a byte every 50 ms": "while True: raw(b' '); time.sleep(0.05)",
    "both streams closed, and it runs": "os.close(1); os.close(2); time.sleep(600)",
    "an answer, and it runs": "say(honest); time.sleep(600)",
    "an answer, closed, and it runs": "say(honest); os.close(1); os.close(2); time.sleep(600)",
}
ENDS = {
    "exit code 255": "sys.exit(255)",
    "it says that the key is another": "raw(b'Host key verification failed.\\n', 2); sys.exit(255)",
    "it says that our key is refused": "raw(b'Permission denied (publickey).\\n', 2); sys.exit(255)",
    "a forged line as an error": "raw(b'x\\n- db  delete: VM 110 with its disk\\n', 2); sys.exit(3)",
    "escapes as an error": "raw(b'\\x1b[2J\\x1b]0;x\\x07nothing to change\\n', 2); sys.exit(3)",
    "killed by a signal": "os.kill(os.getpid(), 9)",
}
BAD = {**SHAPES, **NUMBERS, **SIZES, **TEXTS, **TIMES, **ENDS}

LIES = {
    "it has a stack of another guest": "manifest['desired']['stack/postgres'] = 'x'; say(honest)",
    "it runs a stack of another guest": _set("['there']['stacks']", "{'postgres': ['container db delete: VM-110']}"),
    "somebody runs a container on it that is another guest's line": _set(
        "['there']['others']", "[{'kind': 'container', 'name': '- db  delete: VM 110 with its disk'}]"
    ),
    "it was made from another guest's line": (
        "manifest['desired']['base'] = 'x'; "
        "manifest['made_from'] = {'base': {'- db  delete: VM 110': 'x'}}; say(honest)"
    ),
    "its file is another guest's line": _key("files", "'/etc/x;db:delete:VM-110'", "None"),
    "its file pretends to be the next line": (
        "name = '/etc/x' + ' ' * 160 + '- db  delete: VM 110 with its disk'\n"
        f"manifest['entries']['base']['files'][name] = {FILE}; actual['base']['files'][name] = None; say(honest)"
    ),
    "it has volumes of another guest": _set("['data']", "['postgres', 'vault', '../../etc', 'x\\ny', 'DB']"),
    "nothing is configured": "manifest['desired'] = {}; manifest['entries'] = {}; honest['actual'] = {}; say(honest)",
    "10,000 files are missing": (
        "for n in range(10000):\n"
        f"    manifest['entries']['base']['files'][f'/etc/{{n}}'] = {FILE}\n"
        "    actual['base']['files'][f'/etc/{n}'] = None\n"
        "say(honest)"
    ),
    "python3 is not there": "raw(b'sh: 1: python3: not found\\n', 2); sys.exit(127)",
    "python3 is not there, in 3 MiB": "raw(b'x' * 3000000 + b'\\nsh: 1: python3: not found\\n', 2); sys.exit(127)",
}  # fmt: skip
"""What the guest may say of itself: a plan shows it as this guest's, and every other's part as it was."""
