"""The policy as a JSON schema, for editors: made from the very tables that the reader reads by.

A TOML file is checked by what it decodes to. A schema cannot say all that the reader refuses (two
keys that contradict one another, a pattern that everybody matches); what it says, the reader holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from loader.model.strictjson import JsonObject
from loader.policy.keys import (
    Day,
    Flag,
    Form,
    Key,
    Listing,
    Named,
    OneOf,
    Record,
    Text,
    Whole,
    names_of,
)
from loader.policy.model import POLICY_KEYS
from loader.policy.reading import CLAIM_KEYS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TITLE: Final = "airlock policy, schema 1"


def policy_schema() -> JsonObject:
    """Return the schema of a policy file."""
    return {
        "$schema": DIALECT,
        "title": TITLE,
        **_record(POLICY_KEYS),
        "$defs": {
            claim: _record(keys) | {"title": f'claim = "{claim}"'}
            for claim, keys in CLAIM_KEYS.items()
        },
    }


def _record(keys: Iterable[Key]) -> JsonObject:
    keys = tuple(keys)
    return {
        "type": "object",
        "properties": {key.name: _key(key) for key in keys},
        "required": [key.name for key in keys if key.required],
        "additionalProperties": False,
    }


def _key(key: Key) -> JsonObject:
    return {"description": key.words, **_form(key.form)}


def _form(form: Form) -> JsonObject:
    match form:
        case Text() | Whole() | Flag() | Day():
            return _scalar(form)
        case Named(of=of, names=names):
            named: JsonObject = {"propertyNames": {"enum": list(names)}} if names else {}
            return {"type": "object", "additionalProperties": _form(of), **named}
        case Listing(of=of):
            return {"type": "array", "minItems": 1, "items": _form(of)}
        case Record(keys=keys):
            # Which keys a requirement has depends on what it claims.
            return _requirement() if names_of(keys) == ("claim",) else _record(keys)
        case OneOf(forms=forms):
            return {"anyOf": [_form(one) for one in forms]}
        case _:
            assert_never(form)


def _scalar(form: Text | Whole | Flag | Day) -> JsonObject:
    match form:
        case Text(words=words, pattern=pattern):
            if words:
                return {"enum": list(words)}
            more: JsonObject = {"pattern": f"^(?:{pattern})$"} if pattern else {}
            return {"type": "string", "minLength": 1, **more}
        case Whole(minimum=minimum, maximum=maximum):
            return {"type": "integer", "minimum": minimum, "maximum": maximum}
        case Flag():
            return {"type": "boolean"}
        case Day():
            return {"type": "string", "format": "date"}
        case _:
            assert_never(form)


def _requirement() -> JsonObject:
    return {
        "type": "object",
        "required": ["claim"],
        "properties": {"claim": {"enum": list(CLAIM_KEYS)}},
        "allOf": [
            {
                "if": {"properties": {"claim": {"const": claim}}},
                "then": {"$ref": f"#/$defs/{claim}"},
            }
            for claim in CLAIM_KEYS
        ],
    }
