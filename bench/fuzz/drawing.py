"""Values that fit a schema of the description, and values that do not: few kinds, each at its bounds."""

import random
from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

TEXTS: Final = (
    "a",
    "default",
    "0",
    "true",
    "null",
    "ü\u2028\U0001f600",
    "a b/c?d#e%00",
    "'\"\\;--",
    "\x00\x1f",
    "[]",
    "{}",
)
TIMES: Final = ("2026-01-02T03:04:05Z", "2040-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z")
NUMBERS: Final = (0, 1, -1, 7, 100, 1e-9, 2**31, 2**53, -(2**63), 1e300)
OTHERS: Final[tuple[Any, ...]] = (
    *(None, True, -1, 1.5, 2**64, 10**400, 1e308, "", "x" * 20_000, "\ud7ff", "2026-13-45T99:99:99Z"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": [{}]}}, [0] * 2_000, {"id": "x", "enabled": "yes"}),
)
OFTEN: Final = 0.4
"""How often what may be left out is said."""
LONGEST: Final = 3
"""Of lists, where their schema sets no bound that is nearer."""


class Drawer:
    """Draws by dice, so that one number makes one run."""

    def __init__(self, components: Mapping[str, Schema], dice: random.Random) -> None:
        self._components, self._dice = components, dice

    def fitting(self, schema: Schema) -> Any:
        """A value that the schema allows, but for what only a pattern says."""
        if reference := schema.get("$ref"):
            return self.fitting(self._components[reference.rpartition("/")[2]])
        if ways := schema.get("anyOf"):
            return self.fitting(self._dice.choice(ways))
        if "enum" in schema:
            return self._dice.choice(schema["enum"])
        kind = schema.get("type", "string")
        return self._of(kind if isinstance(kind, str) else self._dice.choice(kind), schema)

    def spoilt(self, value: Any) -> Any:
        """The same with something in it that does not belong there, or not there any more."""
        if not isinstance(value, dict) or self._dice.random() < 0.1:
            return self._dice.choice(OTHERS)
        name = self._dice.choice([*value, "unknown"])
        if self._dice.random() < 0.2:
            return {key: one for key, one in value.items() if key != name}
        return {**value, name: self.spoilt(value.get(name))}

    def _of(self, kind: str, schema: Schema) -> Any:
        match kind:
            case "object":
                return self._object(schema)
            case "array":
                count = self._dice.randint(schema.get("minItems", 0), min(schema.get("maxItems", LONGEST), LONGEST))
                return [self.fitting(schema.get("items", {})) for _ in range(count)]
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return self._number(kind, schema)
            case "boolean":
                return self._dice.random() < 0.5
        return None

    def _object(self, schema: Schema) -> dict[str, Any]:
        needed = schema.get("required", ())
        named = {
            name: self.fitting(one)
            for name, one in schema.get("properties", {}).items()
            if name in needed or self._dice.random() < OFTEN
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and self._dice.random() < OFTEN:
            named[self._dice.choice(TEXTS)] = self.fitting(more)
        return named

    def _text(self, schema: Schema) -> str:
        if schema.get("format") == "date-time":
            return self._dice.choice(TIMES)
        if "pattern" in schema and self._dice.random() < 0.9:
            return f"n{self._dice.randrange(10**6)}"
        text = self._dice.choice(TEXTS)
        most = schema.get("maxLength", len(text))
        return self._dice.choice((text.ljust(schema.get("minLength", 0), "x"), "x" * most))[:most]

    def _number(self, kind: str, schema: Schema) -> float:
        least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        bounds = [bound for bound in (least, most) if bound is not None]
        within = [
            number
            for number in (*NUMBERS, *bounds)
            if (least is None or number >= least) and (most is None or number <= most)
        ]
        number = self._dice.choice(within)
        return int(number) if kind == "integer" else number
