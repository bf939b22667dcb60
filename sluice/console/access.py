"""Who asks, and what that lets them do (contract 3.1, 9.1)."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from sluice.console.envelope import forbidden
from sluice.values.tenancy import Permission, Token

Need = Literal["nothing", "token", "metadata_read", "read", "edit", "operator"]
"""What a path asks of its caller. `operator`: the socket that only the operator can open. `token`: a valid one, of
whatever account, where the body names what is asked for: its handler sees to the rest."""

_IMPLIED: Final[Mapping[Permission, frozenset[Permission]]] = {
    "edit": frozenset({"edit", "read", "metadata_read"}),
    "read": frozenset({"read", "metadata_read"}),
}


class Caller:
    """A token, or the operator where there is none."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self.holds = _widened(token) if token else None

    def may(self, need: Permission) -> bool:
        return self.holds is None or need in self.holds

    def may_in(self, account: str, need: Permission) -> bool:
        """Whether they may so in the account, or in that gateway of it which `reaches` tells."""
        return self._token is None or (account == self._token.account and self.may(need))

    def reaches(self, gateway: str) -> bool:
        """Whether they are not kept to another gateway of their account."""
        return self._token is None or self._token.gateway in (None, gateway)

    def require(self, need: Need, account: str | None, gateway: str | None) -> None:
        """Raises 403 where the token is of another account or gateway, or lacks the permission."""
        if self._token is None or need == "nothing" or need == "token":
            return
        if need == "operator" or account != self._token.account:
            raise forbidden()
        if not self.may(need):
            raise forbidden(f"This needs a token with the permission {need}")
        if self._token.gateway not in (None, gateway):
            raise forbidden(f"This token is of the gateway {self._token.gateway} alone")

    def require_all(self, permissions: frozenset[Permission]) -> None:
        """Nobody hands on what they do not hold."""
        if self.holds is not None and not permissions <= self.holds:
            missing = ", ".join(sorted(permissions - self.holds))
            raise forbidden(f"A token can give only permissions that it has, and this one lacks {missing}")


def offered_tokens(headers: Mapping[str, str]) -> Iterator[str]:
    """Every text that may be a token, in the order of contract 9.1. Header names are lower case."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        yield credentials.strip()
    for name in ("x-auth-key", "x-auth-user-service-key"):
        if text := headers.get(name, "").strip():
            yield text


def _widened(token: Token) -> frozenset[Permission]:
    return token.permissions.union(*(_IMPLIED.get(held, frozenset()) for held in token.permissions))
