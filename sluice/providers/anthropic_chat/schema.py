"""JSON schemas of wanted answers, fitted to what Anthropic compiles (its page on structured outputs, 2026)."""

from typing import Final

from sluice.providers.anthropic_chat.decoding import refused

_NOT_COMPILED: Final = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
"""Refused with status 400. They are told to the model in words instead, as Anthropic's own SDKs do."""
_DEEPEST: Final = 100
_MAPS: Final = frozenset({"properties", "$defs", "definitions"})
_SCHEMAS: Final = frozenset({"items", "anyOf", "allOf", "oneOf"})


def fitted(schema: dict[str, object], place: str, depth: int = 0) -> dict[str, object]:
    """The same schema, with its bounds in the descriptions and every object closed."""
    if depth > _DEEPEST:
        raise refused(place, "nested too deeply")
    found = {key: _inner(key, value, place, depth) for key, value in schema.items() if key not in _NOT_COMPILED}
    bounds = [f"{key}: {schema[key]}" for key in _NOT_COMPILED if key in schema]
    if isinstance(found.get("minItems"), int) and found["minItems"] not in (0, 1):
        bounds.append(f"minItems: {found['minItems']}")
        found["minItems"] = 1
    if bounds:
        found["description"] = " ".join(
            (*filter(None, [str(found.get("description") or "")]), f"({', '.join(bounds)})")
        )
    if found.get("type") == "object" or "properties" in found:
        found["additionalProperties"] = False
    return found


def _inner(key: str, value: object, place: str, depth: int) -> object:
    if key in _MAPS and isinstance(value, dict):
        return {name: _schema(one, place, depth) for name, one in value.items()}
    if key in _SCHEMAS:
        return (
            [_schema(one, place, depth) for one in value] if isinstance(value, list) else _schema(value, place, depth)
        )
    return value


def _schema(value: object, place: str, depth: int) -> object:
    return fitted(value, place, depth + 1) if isinstance(value, dict) else value
