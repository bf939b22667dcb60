"""How large a query may be: what it costs to check one must not depend on who sends it."""

from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from sluice.console.graphql.datasets import DATASETS

MOST_TOKENS: Final = 2_000
MOST_COMMENTS: Final = 100
DEEPEST: Final = 20
"""What tools ask of a schema to draw it goes 19 deep, and names 487 fields."""
MOST_FIELDS: Final = 1_000
"""Every fragment counted where it is used."""
MOST_DATASETS: Final = 20
"""By whatever aliases."""

_DATASETS: Final = frozenset(dataset.name for dataset in DATASETS)


class _Size:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self.fields = self.datasets = 0

    def add(self, selections: SelectionSetNode | None, depth: int = 1) -> None:
        for node in selections.selections if selections else ():
            if depth > DEEPEST:
                raise GraphQLError(f"The query is nested more than {DEEPEST} deep.")
            if isinstance(node, FieldNode):
                self._count(node)
                self.add(node.selection_set, depth + 1)
            elif isinstance(node, InlineFragmentNode):
                self._bound()
                self.add(node.selection_set, depth + 1)
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self._fragments:
                self._bound()
                self.add(self._fragments[node.name.value].selection_set, depth + 1)

    def _count(self, node: FieldNode) -> None:
        self._bound()
        self.datasets += node.name.value in _DATASETS
        if self.datasets > MOST_DATASETS:
            raise GraphQLError(f"The query names more than {MOST_DATASETS} datasets.")

    def _bound(self) -> None:
        self.fields += 1
        if self.fields > MOST_FIELDS:
            raise GraphQLError(f"The query names more than {MOST_FIELDS} fields.")


def check_size(document: DocumentNode) -> None:
    """Raises GraphQLError for a query that is past a bound. A fragment within itself is found by its depth."""
    size = _Size(document)
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode):
            size.add(node.selection_set)
