"""Which key goes upstream. A client sends its own so far: none can be stored yet (contract 3.3)."""

from sluice.values.errors import UnknownKeyAlias
from sluice.values.request import Step


def require_alias(step: Step) -> None:
    """Raises UnknownKeyAlias where the client asks for a stored key that is not there."""
    alias = step.options.key_alias
    if alias:
        raise UnknownKeyAlias(f"{step.provider} has no provider key with the alias '{alias}': none is configured")
