"""Rows of the table of paths, with what each takes and answers, to one OpenAPI document."""

import re
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final, get_args

import msgspec
from msgspec import UnsetType

from sluice import __version__
from sluice.console.call import Path
from sluice.console.envelope import Failure
from sluice.console.openapi.operation import JSON, TEXT, Answer, Operation, Parameter, Schema, Type
from sluice.values.tenancy import PERMISSIONS

Described = tuple[Path, Operation | None]
"""None for what the contract knows and no version has built yet."""

PART: Final = re.compile(r"\{(\w+)(?::path)?\}")
ALWAYS: Final = (400, 413, 431, 503)
"""What any request may come to: no HTTP or no such value, too large, too much in its head, a console that is busy."""
_REFERENCE: Final = "#/components/schemas/{name}"
_NOTE: Final = re.compile(r"\s*\(contract [^)]*\)")
_TOKENS: Final = {
    "token": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-Auth-Key"},
    "service_key": {"type": "apiKey", "in": "header", "name": "X-Auth-User-Service-Key"},
}
_ABOUT: Final = (
    "Every GET is answered to HEAD too. A method that a path has not is a 405 with `Allow`. Refusals come in the "
    "envelope of `Failure`, also those of what is no HTTP, too slow or too large."
)
_NONE: Final[Schema] = {"type": "array", "maxItems": 0}


def document(described: Sequence[Described]) -> bytes:
    """The description of these paths, as JSON."""
    schemas = _Schemas(kind for _, operation in described for kind in _kinds(operation))
    paths: dict[str, dict[str, object]] = {}
    for path, operation in described:
        said = _unbuilt(path, schemas) if operation is None else _built(path, operation, schemas)
        paths.setdefault(template(path), {})[path.method.lower()] = said
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Sluice, management API", "version": __version__, "description": _ABOUT},
        "security": [{name: []} for name in _TOKENS],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _TOKENS},
    }
    return msgspec.json.encode(_portable(whole))


def template(path: Path) -> str:
    """The pattern of a path as OpenAPI writes it, which has no way to say that a part may have slashes."""
    return PART.sub(r"{\1}", path.pattern)


class _Schemas:
    """Of each type what stands for it: itself, or a reference to a component."""

    def __init__(self, kinds: Iterable[Type]) -> None:
        distinct = {repr(kind): kind for kind in (Failure, *kinds)}
        found, self.components = msgspec.json.schema_components(distinct.values(), ref_template=_REFERENCE)
        self._of: dict[str, Schema] = dict(zip(distinct, found, strict=True))

    def answered(self, kind: Type) -> Schema:
        """The same, a part of a reply: what has a default is said there all the same."""
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__struct_config__.omit_defaults:
            self.components[kind.__name__]["required"] = [
                field.encode_name for field in msgspec.structs.fields(kind) if UnsetType not in get_args(field.type)
            ]
        return self.of(kind)

    def of(self, kind: Type) -> Schema:
        return self._of[repr(kind)]

    def partial(self, kind: type) -> Schema:
        """The same where nothing is needed, a component of its own."""
        name = f"{kind.__name__}Change"
        self.components[name] = {**self.components[kind.__name__], "title": name, "required": []}
        return {"$ref": _REFERENCE.format(name=name)}


def _kinds(operation: Operation | None) -> Iterator[Type]:
    if operation is not None:
        answer = operation.answers
        yield from (kind for kind in (operation.body, operation.problem, answer.of, *answer.infos) if kind is not None)


def _built(path: Path, operation: Operation, schemas: _Schemas) -> dict[str, object]:
    said: dict[str, object] = {
        "operationId": f"{path.handler.__module__.rpartition('.')[2]}_{path.handler.__name__}",
        "summary": operation.does,
        **_asks(path),
        "parameters": [*_parts(path), *_query(operation)],
        "responses": {"200": _answer(operation.answers, schemas)} | _refusals(path, operation, schemas),
    }
    if operation.body is not None:
        schema = schemas.partial(operation.body) if operation.partial else schemas.of(operation.body)
        said["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return said


def _unbuilt(path: Path, schemas: _Schemas) -> dict[str, object]:
    statuses = (*ALWAYS, 401, 403, 404)
    return {
        "summary": "Not available in this version",
        **_asks(path),
        "parameters": list(_parts(path)),
        "responses": {str(status): _told(status, schemas.of(Failure)) for status in sorted(statuses)},
    }


def _asks(path: Path) -> dict[str, object]:
    """What a path asks of its caller; the operator's are behind a socket that asks for nothing."""
    if path.need in PERMISSIONS:
        return {"description": f"Needs the permission `{path.need}`."}
    return {} if path.need == "token" else {"security": []}


def _parts(path: Path) -> Iterator[dict[str, object]]:
    for name in PART.findall(path.pattern):
        yield {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}


def _query(operation: Operation) -> Iterator[dict[str, object]]:
    if operation.query is not None:
        _, components = msgspec.json.schema_components((operation.query,), ref_template=_REFERENCE)
        for name, schema in components[operation.query.__name__]["properties"].items():
            yield {"name": name, "in": "query", "schema": _said_in_a_query(schema)}
    yield from map(_parameter, operation.more)


def _said_in_a_query(schema: dict[str, Any]) -> dict[str, Any]:
    """Nothing is what is left out there, and not null."""
    said = {name: value for name, value in schema.items() if value is not None}
    ways = [way for way in said.pop("anyOf", ()) if way != {"type": "null"}]
    return said | (ways[0] if len(ways) == 1 else {"anyOf": ways} if ways else {})


def _parameter(one: Parameter) -> dict[str, object]:
    said: dict[str, object] = {"name": one.name, "in": "query", "description": one.about}
    return said | ({"content": {JSON: {"schema": one.schema}}} if one.as_json else {"schema": one.schema})


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, object]:
    if answer.of is None:
        return {"description": "As asked for", "content": {answer.media: {}}}
    schema = schemas.answered(answer.of)
    if answer.enveloped:
        schema = _envelope(schema, [schemas.answered(info) for info in answer.infos])
    return {"description": "Done", "content": {answer.media: {"schema": schema}}}


def _envelope(schema: Schema, infos: list[Schema]) -> Schema:
    held: dict[str, Schema] = {"success": {"const": True}, "errors": _NONE, "messages": _NONE}
    if infos:
        held["result"] = {"type": "array", "items": schema}
        held["result_info"] = {"anyOf": infos}
    else:
        held["result"] = schema
    return {"type": "object", "properties": held, "required": list(held)}


def _refusals(path: Path, operation: Operation, schemas: _Schemas) -> dict[str, object]:
    statuses = {*ALWAYS, *operation.refuses}
    if path.need not in ("nothing", "operator"):
        statuses |= {401, 403}
    if PART.search(path.pattern):
        statuses.add(404)
    ways = [schemas.of(way) for way in dict.fromkeys((operation.problem, Failure))]
    schema = ways[0] if len(ways) == 1 else {"anyOf": ways}  # whatever is not its handler's refuses as everywhere
    return {str(status): _told(status, schema) for status in sorted(statuses)}


def _told(status: int, schema: Schema) -> dict[str, object]:
    return {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}


def _portable(said: Any) -> Any:
    """Patterns as every language reads them, and no word of our own papers."""
    if isinstance(said, dict):
        return {name: _portable_text(name, value) for name, value in said.items()}
    return [_portable(one) for one in said] if isinstance(said, list | tuple) else said


def _portable_text(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(r"\Z", "$") if name == "pattern" else _NOTE.sub("", value)
    return _portable(value)
