"""Reads what a client sent the way PVE's own server does: urlencoded or JSON, query over body."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from .errors import PlainError

Params = dict[str, Any]
LIMIT = 512 * 1024
PERL = " at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {}."
SCALAR = 32  # so much of a text Perl quotes where it wanted a hash
SHOWN = 20  # so much of the rest its parser quotes
ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\f": r"\f", "\a": r"\a", "\\": r"\\"}
NO_JSON = "malformed JSON string, neither tag, array, object, number, string or atom"
ATOMS = {"t": "'true' expected", "f": "'false' expected", "n": "'null' expected"}
UNCLOSED = {
    "{": ", or } expected while parsing object/hash",
    "[": ", or ] expected while parsing array",
}
COMPLAINTS = {
    "Expecting property name enclosed in double quotes": "'\"' expected",
    "Expecting ':' delimiter": "':' expected",
    "Extra data": "garbage after JSON object",
    "Invalid control character at": "invalid character encountered while parsing JSON string",
    "Invalid \\escape": "illegal backslash escape sequence in string",
}


def decode_form(text: str) -> Params:
    """Parameters of a form or query: a repeated key makes a list, a key without value None."""
    found: Params = {}
    for part in re.split(r"[&;]", text) if text else []:
        pieces = part.split("=")
        name = _unescape(pieces[0])
        value: Any = _unescape(pieces[1]) if len(pieces) > 1 and pieces[1] != "" else None
        if value is not None and found.get(name) is not None:
            before = found[name]
            value = [*before, value] if isinstance(before, list) else [before, value]
        found[name] = value
    return found


def _unescape(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def decode_json(data: bytes) -> Params:
    """Parameters of a JSON body; numbers become texts, as Perl sees them."""
    try:
        found = parse_json(data)
    except ValueError as error:
        raise PlainError(500, f"{error}{PERL.format(934)}\n") from None
    if found is None:
        return {}
    if isinstance(found, dict):
        return {name: _perlish(value) for name, value in found.items()}
    what = "Not a HASH reference"
    if not isinstance(found, list | bool):
        text = str(_perlish(found))
        shown = f'"{text}"' if len(text) <= SCALAR else f'"{text[:SCALAR]}"...'
        what = f'Can\'t use string ({shown}) as a HASH ref while "strict refs" in use'
    raise PlainError(500, f"{what}{PERL.format(978)}\n")


def parse_json(data: bytes) -> Any:
    """What a JSON text says; a ValueError carries the words of Perl's parser."""
    try:
        return json.loads(data.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        what, start = "malformed UTF-8 character in JSON string", error.start
    except _Constant as error:
        text = data.decode()
        what, at = _complaint(json.JSONDecodeError("Expecting value", text, text.find(str(error))))
        start = len(text[:at].encode())
    except json.JSONDecodeError as error:
        what, at = _complaint(error)
        start = len(error.doc[:at].encode())
    rest = _displayed(data[start:].decode("utf-8", "replace")) or "(end of string)"
    raise ValueError(f'{what}, at character offset {start} (before "{rest}")')


class _Constant(ValueError):
    """NaN and its kin, which Python reads and Perl does not."""


def _no_constant(name: str) -> Any:
    raise _Constant(name)


def _complaint(error: json.JSONDecodeError) -> tuple[str, int]:
    """The same complaint in the words of Perl's parser, and where that one stops."""
    text, at = error.doc, error.pos
    if error.msg == "Expecting value":
        if text[at : at + 1] == "-":
            return "malformed number (no digits after initial minus)", at + 1
        return ATOMS.get(text[at : at + 1], NO_JSON), at
    if error.msg.startswith("Unterminated string"):
        return "unexpected end of string while parsing JSON string", len(text)
    if error.msg.startswith("Invalid \\u"):
        return "exactly four hexadecimal digits expected", at + 1
    if error.msg == "Expecting ',' delimiter":
        return UNCLOSED[_innermost(text[:at])], at
    return COMPLAINTS.get(error.msg, NO_JSON), at


def _innermost(text: str) -> str:
    """The bracket that is still open at the end of the text."""
    opened: list[str] = []
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[][{}]', text, re.S):
        if found[0] in ("{", "["):
            opened.append(found[0])
        elif found[0] in ("}", "]"):
            opened.pop()
    return opened[-1]


def _displayed(text: str) -> str:
    """The start of a text as Perl shows it: some 20 characters, what can't be printed escaped."""
    shown = ""
    for character in text:
        if len(shown) >= SHOWN:
            return f"{shown}..."
        plain = " " <= character <= "~" and character != "\\"
        shown += character if plain else ESCAPES.get(character, f"\\x{{{ord(character):x}}}")
    return shown


def _perlish(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, list):
        return [_perlish(item) for item in value]
    if isinstance(value, dict):
        return {name: _perlish(item) for name, item in value.items()}
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def content_type(header: str | None) -> str | None:
    """The media type alone; PVE's server minds its case."""
    return re.split(r"\s*[;,]\s*", header)[0] or None if header else None


def parameters(method: str, query: str, kind: str | None, data: bytes) -> Params:
    """All parameters of a request; those of the query win."""
    found: Params = {}
    if method in ("PUT", "POST"):  # JSON that is empty is broken; other methods have no body
        found = decode_json(data) if kind == "application/json" else decode_form(data.decode("utf-8", "replace"))
    found |= decode_form(query)
    found.pop("_dc", None)
    return found


def normalize(params: Params, schema: dict[str, dict[str, Any]]) -> None:
    """Lists where `-list` texts are wanted are joined, texts where arrays are wanted are wrapped."""
    for name, value in params.items():
        known = schema.get(name)
        if not known or not value or value == "0":
            continue
        if isinstance(value, list) and known.get("type") == "string":
            if isinstance(known.get("format"), str) and known["format"].endswith("-list"):
                params[name] = ",".join(str(item) for item in value)
        elif isinstance(value, str) and known.get("type") == "array":
            params[name] = [value]


def settle(params: Params) -> Params:
    """After validation: JSON booleans as PVE's 1 and 0, keys without value dropped."""
    plain = {True: "1", False: "0"}
    return {k: plain[v] if isinstance(v, bool) else v for k, v in params.items() if v is not None}
