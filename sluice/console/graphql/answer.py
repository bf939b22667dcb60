"""Answers a GraphQL request: parse, bound, validate, run. All of it on one thread that may wait for a store."""

import logging
from typing import Any, Final

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import VariablesInAllowedPositionRule

from sluice.console.graphql.bounds import MOST_COMMENTS, MOST_TOKENS, check_size
from sluice.console.graphql.datasets import DATASETS, Dataset, schema_text
from sluice.console.graphql.groups import Context, Row, groups_of
from sluice.journal import fields

_log = logging.getLogger(__name__)

_RULES: Final = [rule for rule in specified_rules if rule is not VariablesInAllowedPositionRule]
"""A client may declare `$tag: String!` or `$tag: string!`: what comes is checked where it is used."""
_MOST_ERRORS: Final = 20

Formatted = dict[str, Any]


def answer(
    query: str, variables: dict[str, Any] | None, operation: str | None, context: Context
) -> tuple[Formatted, bool]:
    """The body of the reply, and whether something failed that is not the client's doing."""
    try:
        document = parse(query, max_lexical_tokens=MOST_TOKENS, max_comments=MOST_COMMENTS)
        check_size(document)
        wrong = validate(_SCHEMA, document, _RULES, max_errors=_MOST_ERRORS)
        if wrong:
            return _formatted(ExecutionResult(None, wrong))
        result = execute_sync(
            _SCHEMA, document, context_value=context, variable_values=variables, operation_name=operation
        )
    except GraphQLError as error:
        return _formatted(ExecutionResult(None, [error]))
    except RecursionError:
        return _formatted(ExecutionResult(None, [GraphQLError("The query is nested too deep.")]))
    return _formatted(result)


def _formatted(result: ExecutionResult) -> tuple[Formatted, bool]:
    """Errors of ours are told; of what failed inside nothing is, for it may name files."""
    errors, failed = [], False
    for error in result.errors or ():
        inner = error.original_error
        if inner is None or isinstance(inner, GraphQLError):
            errors.append(error.formatted)
        else:
            failed = True
            _log.error("a dataset failed", extra=fields(fault=f"{type(inner).__name__}: {inner}"))
            errors.append(GraphQLError("Internal error", error.nodes, path=error.path).formatted)
    return {"data": None if errors else result.data, "errors": errors or None}, failed


def _accounts(root: object, info: GraphQLResolveInfo, filter: dict[str, object] | None = None) -> list[Row]:
    context: Context = info.context
    account = (filter or {}).get("accountTag")
    if not isinstance(account, str):
        raise GraphQLError('accounts: name one by filter: {accountTag: "..."}.')
    if not context.caller.may_in(account, "metadata_read"):
        raise GraphQLError("Not authorized for that account.", extensions={"code": "authz"})
    return [{"accountTag": account}]


def _resolve_groups(dataset: Dataset) -> Any:
    def resolve(account: Row, info: GraphQLResolveInfo, **arguments: object) -> list[Row]:
        return groups_of(dataset, account["accountTag"], info, arguments)

    return resolve


def _schema() -> GraphQLSchema:
    schema = build_schema(schema_text())
    _type(schema, "Query").fields["viewer"].resolve = lambda root, info: {}
    _type(schema, "Viewer").fields["accounts"].resolve = _accounts
    for dataset in DATASETS:
        _type(schema, "Account").fields[dataset.name].resolve = _resolve_groups(dataset)
    return schema


def _type(schema: GraphQLSchema, name: str) -> GraphQLObjectType:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return found


_SCHEMA: Final = _schema()
