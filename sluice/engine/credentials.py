"""Which key goes upstream: the request's own, a stored one, the operator's, or none (contract 3.3)."""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from sluice.engine.opened_keys import OpenedKeys
from sluice.engine.recorder import Record
from sluice.providers.provider import Provider
from sluice.providers.registry import PROVIDERS, row
from sluice.providers.workers_ai import WORKERS_AI
from sluice.values.credential import FALLBACK_ALIAS, UNIFIED, Credential, Keyring, StoredKey
from sluice.values.errors import CredentialRequired, UnknownKeyAlias
from sluice.values.reply import Reply
from sluice.values.request import Header, Options, Step
from sluice.values.secret import Secret
from sluice.values.tenancy import Admission

KEY_HEADERS: Final = frozenset(name for provider in PROVIDERS.values() for name in provider.key_headers)
"""Any of them in a request is its own credential, whichever provider it goes to: two keys never go together."""
NO_KEY: Final = frozenset((b"", b"bearer", b"token", b"key", b"api-key"))
"""What clients send in such a header that were given an empty key."""
NO_KEYRING: Final = Keyring()


class Credentials:
    """The link that gives a step its key before it is made."""

    def __init__(
        self,
        stored: OpenedKeys,
        api_keys: Mapping[str, Secret],
        require_auth: bool,
        following: Callable[[Step, Record], Awaitable[Reply]],
    ) -> None:
        self._stored, self._require_auth, self._following = stored, require_auth, following
        self._unified = {name: Credential(name, UNIFIED, secret) for name, secret in api_keys.items() if secret}

    def make(self, step: Step, record: Record) -> Awaitable[Reply]:
        """Raises UnknownKeyAlias and CredentialRequired, beside what the next link raises."""
        options = step.options
        if record.keyring is None and not (self._unified or options.key_alias or options.no_wholesale):
            return self._following(step, record)
        return self._make(step, record)

    async def _make(self, step: Step, record: Record) -> Reply:
        return await self._following(await self.dressed(step, record), record)

    async def dressed(self, step: Step, record: Record, subprotocols: Sequence[str] = ()) -> Step:
        """The step with the key that it is to go with. Raises UnknownKeyAlias, CredentialRequired and StoreFault."""
        provider = row(step.provider)
        headers = keyless(step.headers, provider.other_headers)
        if headers is None or brings_key(step.query, provider, subprotocols):
            record.credential = None
            return step
        record.credential = credential = await self._chosen(step, record)
        if credential is None:
            return step
        signed = [*headers, *provider.sign(credential.secret.reveal().encode())]
        return msgspec.structs.replace(step, headers=signed, credential=credential)

    async def _chosen(self, step: Step, record: Record) -> Credential | None:
        keyring = record.keyring or NO_KEYRING
        own_only = keyring.byok_only or step.options.no_wholesale
        if record.authenticated or not self._require_auth:
            key = chosen(keyring.keys, step.provider, step.options.key_alias)
            if key and (credential := self._stored.known(key) or await self._stored.open(key)):
                return credential
            if key and key.alias == step.options.key_alias:  # deleted since the request was let in
                raise _unknown(key.alias, step.provider, ())
            if not own_only:
                return self._unified.get(step.provider)
        is_own = step.custom is not None and bool(step.custom.headers)
        if own_only and not is_own and step.provider != WORKERS_AI.name:
            raise CredentialRequired(step.provider)
        return None

    def has_key(self, provider: Provider, sent: Container[bytes], admission: Admission, options: Options) -> bool:
        """Whether requests like this, which sends these headers, have a key: their own, a stored or the operator's."""
        if any(name in sent for name in provider.key_headers):
            return True
        if not admission.authenticated and self._require_auth:
            return False
        keyring = admission.gateway.keyring or NO_KEYRING
        if any(key.provider == provider.name for key in keyring.keys):
            return True
        return provider.name in self._unified and not (keyring.byok_only or options.no_wholesale)


def chosen(keys: Sequence[StoredKey], provider: str, alias: str) -> StoredKey | None:
    """The key with this alias; without one the default, else the one whose alias is that. Raises UnknownKeyAlias."""
    fallback = None
    for key in keys:
        if key.provider != provider:
            continue
        if key.alias == alias or (key.is_default and not alias):
            return key
        if key.alias == FALLBACK_ALIAS:
            fallback = key
    if alias:
        raise _unknown(alias, provider, [key.alias for key in keys if key.provider == provider])
    return fallback


def keyless(headers: list[Header], others: Container[bytes] = ()) -> list[Header] | None:
    """The headers without empty keys; None where one of them is a key, as none of `others` is."""
    keys = [header for header in headers if header[0] in KEY_HEADERS and header[0] not in others]
    if not keys:
        return headers
    if any(header[2].strip().lower() not in NO_KEY for header in keys):
        return None
    return [header for header in headers if header not in keys]


def brings_key(query: bytes, provider: Provider, subprotocols: Sequence[str]) -> bool:
    """Whether a request has a credential of its own elsewhere: in its query, or in a subprotocol."""
    if provider.key_parameters and query:
        for pair in query.split(b"&"):
            name, _, value = pair.partition(b"=")
            if value and unquote_to_bytes(name) in provider.key_parameters:
                return True
    return any(text.lower().startswith(provider.realtime.key_subprotocols) for text in subprotocols)


def _unknown(alias: str, provider: str, known: Sequence[str]) -> UnknownKeyAlias:
    named = ", ".join(f"'{one}'" for one in known) or "none"
    verb = "are" if len(known) > 1 else "is"
    return UnknownKeyAlias(f"{provider} has no provider key with the alias '{alias}': {named} {verb} configured")
