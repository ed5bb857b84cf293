"""Parameter validation from schema facts, with Proxmox VE's own words for what is wrong.

Values are texts (as forms send them), lists, dicts, booleans or None (a key without a value).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import cpu_models
from .errors import VERIFICATION, ApiError, refuse_if
from .formats import FORMATS, bare
from .surface import named_format
from .words import INTEGER, NUMBER, boolean, split_list, truth

Schema = dict[str, Any]
Errors = dict[str, str]
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
PATTERNS: dict[str, re.Pattern[str]] = {}
FIELD = re.compile(r"([^=]+)=(.+)$")  # a value ends with its line: PVE drops a line feed and takes nothing after it


def add(errors: Errors, path: str, text: str) -> None:
    """Adds a text to a field; two texts are joined by a literal backslash-n, as PVE joins them."""
    path = path or "_root"
    errors[path] = f"{errors[path]}\\n{text}" if path in errors else text


def validate(values: dict[str, Any], properties: dict[str, Schema], open_ended: bool = False) -> None:
    """Checks all parameters of a call and raises a 400 that names every wrong field."""
    errors: Errors = {}
    check_object("", properties, values, open_ended, errors)
    refuse_if(errors, ApiError(400, VERIFICATION, errors))


def check_object(
    path: str, properties: dict[str, Schema], values: dict[str, Any], open_ended: bool, errors: Errors
) -> None:
    """Checks a dict against the schemas of its properties; aliases are renamed in place."""
    for name in [n for n in values if properties.get(n, {}).get("alias")]:
        alias = properties[name]["alias"]
        if values.get(alias) is not None:
            text = f"cannot set both '{name}' and its alias target '{alias}'"
            add(errors, f"{path}.{name}" if path else name, text)
        else:
            values[alias] = values.pop(name)
    for name, schema in properties.items():
        if schema.get("optional") and "oneOf" not in schema and values.get(name) is None:
            continue  # most of some hundred are not there: nothing could be wrong with them
        kind = values.get(schema["type-property"]) if "type-property" in schema else None
        check(values.get(name), schema, f"{path}.{name}" if path else name, errors, kind)
    for name in values:
        where = f"{path}.{name}" if path else name
        known = properties.get(name)
        if known is None or not _fits_type(known, values):
            if not open_ended:
                add(errors, where, UNKNOWN)
            continue
        requires = known.get("requires")
        if isinstance(requires, str) and values.get(requires) is None:
            add(errors, f"{path}.{requires}" if path else requires, f"missing property required by '{where}'")


def _fits_type(schema: Schema, values: dict[str, Any]) -> bool:
    if "oneOf" not in schema or "type-property" not in schema:
        return True
    kind = values.get(schema["type-property"])
    return any(kind in option.get("instance-types", [kind]) for option in schema["oneOf"])


def check(value: Any, schema: Schema, path: str, errors: Errors, kind: str | None = None) -> None:
    """Checks one value."""
    optional = bool(schema.get("optional"))
    if "oneOf" in schema:
        optional = True
        for option in schema["oneOf"]:
            if "type-property" not in schema or kind in option.get("instance-types", ()):
                check(value, option, path, errors)
                break
    elif kind is not None and kind not in schema.get("instance-types", [kind]):
        optional = True
    if schema.get("alias"):
        return
    if value is None:
        if not optional and schema.get("type") != "null":
            add(errors, path, MISSING)
        return
    if not _check_type(value, schema.get("type"), path, errors):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, schema.get("items", {}), f"{path}[{index}]", errors)
    elif isinstance(value, dict):
        if "properties" in schema:
            open_ended = bool(schema.get("additionalProperties", True))
            check_object(path, schema["properties"], value, open_ended, errors)
    elif isinstance(value, str):
        _check_text(value, schema, path, errors)


def _check_type(value: Any, kind: Any, path: str, errors: Errors) -> bool:
    if not kind or kind == "any":
        return True
    if kind in ("array", "object"):
        if isinstance(value, list if kind == "array" else dict):
            return True
        add(errors, path, f"type check ('{kind}') failed")
        return False
    if isinstance(value, bool):
        if kind == "boolean":
            return True
        got = "JSON::PP::Boolean"
    elif isinstance(value, list | dict):
        got = "ARRAY" if isinstance(value, list) else "HASH"
    elif _is_of_type(value, kind):
        return True
    else:
        got = f"'{value}'"
    add(errors, path, f"type check ('{kind}') failed - got {got}")
    return False


def _is_of_type(value: str, kind: str) -> bool:
    if kind == "boolean":
        return value in ("0", "1")
    if kind == "integer":
        return bool(INTEGER.fullmatch(bare(value)))
    return bool(NUMBER.fullmatch(bare(value))) if kind == "number" else True


def _check_text(value: str, schema: Schema, path: str, errors: Errors) -> None:
    found = _wrong_format(value, schema, path) or _wrong_length(value, schema) or _wrong_range(value, schema)
    options = schema.get("enum")
    if not found and options and value not in map(str, options):
        found = f"value '{value}' does not have a value in the enumeration '{', '.join(map(str, options))}'"
    if found:
        add(errors, path, found)


def _wrong_format(value: str, schema: Schema, path: str) -> str | None:
    if schema.get("format"):
        try:
            check_format(schema["format"], value, path)
        except ValueError as error:
            return f"invalid format - {error}\n"
    pattern = schema.get("pattern")
    if pattern:
        # unparenthesised, as PVE has it: of `A|B` only A is bound to the start, and only B to the end
        compiled = PATTERNS.get(pattern) or PATTERNS.setdefault(pattern, re.compile(f"^{pattern}$"))
        if not compiled.search(value):
            return "value does not match the regex pattern"
    return None


def _wrong_length(value: str, schema: Schema) -> str | None:
    if len(value) > int(schema.get("maxLength", len(value))):
        return f"value may only be {schema['maxLength']} characters long"
    if len(value) < int(schema.get("minLength", 0)):
        return f"value must be at least {schema['minLength']} characters long"
    return None


def _wrong_range(value: str, schema: Schema) -> str | None:
    if ("maximum" in schema or "minimum" in schema) and NUMBER.fullmatch(bare(value)):
        if float(value) > float(schema.get("maximum", value)):
            return f"value must have a maximum value of {schema['maximum']}"
        if float(value) < float(schema.get("minimum", value)):
            return f"value must have a minimum value of {schema['minimum']}"
    return None


def check_format(name: Any, value: str, path: str) -> None:
    """Checks a value against a named format or a property string's schema."""
    if isinstance(name, dict):
        parse_property_string(name, value, path)
        return
    if name == "regex":
        return
    found = re.fullmatch(r"(.*?)(?:-(list|opt))?", name)
    base, kind = (found[1], found[2]) if found else (name, None)
    properties = named_format(name) or named_format(base)
    if properties:
        fields = parse_property_string(properties, value, path)
        if base in VALIDATORS:
            VALIDATORS[base](fields)
    elif kind == "list":
        for item in split_list(value):
            _named(base)(item)
    elif kind != "opt" or truth(value):
        _named(base)(value)


def _check_prune(fields: dict[str, Any]) -> None:
    if fields.get("keep-all") and any(int(n) > 0 for name, n in fields.items() if name != "keep-all"):
        raise ValueError("keep-all cannot be set together with other options.")


def _check_fleecing(fields: dict[str, Any]) -> None:
    if not fields.get("storage") and truth(fields.get("enabled")):
        raise ValueError("'storage' parameter is required when 'enabled' is set")


VALIDATORS: dict[str, Callable[[dict[str, Any]], None]] = {
    "pve-vm-cpu-conf": cpu_models.check,
    "prune-backups": _check_prune,
    "backup-fleecing": _check_fleecing,
}


def _named(name: str) -> Any:
    return FORMATS[name]


class FormatError(ValueError):
    """A property string whose fields are wrong."""


def parse_property_string(properties: dict[str, Schema], text: str, path: str = "") -> dict[str, Any]:
    """The fields of a `key=value,...` text, checked; raises ValueError with PVE's text."""
    result = split_property_string(properties, text)
    errors: Errors = {}
    check_object(path, properties, result, False, errors)
    if errors:
        lines = "".join(f"{name}: {found}\n" for name, found in errors.items())
        raise FormatError(f"format error\n{lines}".removesuffix("\n"))
    return result


def split_property_string(properties: dict[str, Schema], text: str) -> dict[str, Any]:
    """The fields of a `key=value,...` text with aliases resolved, unchecked."""
    result: dict[str, Any] = {}
    default_seen = False
    for part in text.split(","):
        if not part.strip():
            continue
        field = FIELD.match(part)
        if field:
            _take(properties, result, field[1], field[2])
        elif "=" not in part:
            key = next((n for n, s in properties.items() if s.get("default_key")), None)
            if key is None:
                raise ValueError("value without key, but schema does not define a default key")
            if default_seen or truth(result.get(key)):
                raise ValueError(f"duplicate key in comma-separated list property: {key}")
            default_seen = True
            result[key] = _as_boolean(properties[key], part)
        else:
            raise ValueError("missing key in comma-separated list property")
    return result


def named_fields(name: str, text: str) -> dict[str, Any]:
    """The fields of a property string of a named format, unchecked."""
    return split_property_string(named_format(name) or {}, text)


def _take(properties: dict[str, Schema], result: dict[str, Any], name: str, value: str) -> None:
    refuse_if(name in result, ValueError(f"duplicate key in comma-separated list property: {name}"))
    schema = properties.get(name)
    alias = schema.get("alias") if schema else None
    if alias:
        key_alias = schema.get("keyAlias") if schema else None
        if key_alias:
            refuse_if(key_alias in result, ValueError(f"key alias '{key_alias}' is already defined"))
            result[key_alias] = name
        name = alias
        schema = properties.get(name)
        refuse_if(name in result, ValueError(f"key '{name}' is already defined (via alias)"))
    result[name] = _as_boolean(schema or {}, value)


def _as_boolean(schema: Schema, value: str) -> str:
    return (boolean(value) or value) if schema.get("type") == "boolean" else value


def print_property_string(properties: dict[str, Schema], values: dict[str, Any], skip: tuple[str, ...] = ()) -> str:
    """The canonical text of fields: default key first and bare, then required ones, then the others."""
    combined = {s["keyAlias"]: s["alias"] for s in properties.values() if s.get("keyAlias")}
    parts: list[str] = []
    done = set(skip)
    for name in (n for n, s in properties.items() if s.get("default_key") and n not in done):
        if values.get(name) is None:
            continue
        partner = combined.get(name, "")
        if values.get(partner) is not None:
            parts.append(f"{values[name]}={values[partner]}")
        else:
            parts.append(str(values[name]))
        done |= {name, partner}
    required = [n for n, s in sorted(properties.items()) if not s.get("optional")]
    for name in dict.fromkeys([*required, *sorted(properties)]):
        if name not in done and values.get(name) is not None and not properties[name].get("alias"):
            parts.append(f"{name}={values[name]}")
    return ",".join(parts)
