"""Credentials that are no header as they are: AWS's are signed with, Google's are exchanged for a token."""

from datetime import UTC, datetime
from typing import Final

from sluice.engine.google_tokens import GoogleTokens
from sluice.providers import bedrock, vertex
from sluice.values.errors import BodyTooLarge, CredentialRefused, MalformedCredential, Overloaded
from sluice.values.request import Step

MOST_SIGNED_BYTES: Final = 32 * 1024 * 1024
"""A signature is of the whole body, so that it must be in memory. Bedrock takes 20 MB."""


class Authorizing:
    """Makes a step one that its provider lets in, where a key may be a document (`Provider.takes_documents`)."""

    def __init__(self, tokens: GoogleTokens) -> None:
        self._tokens = tokens
        self._ways = {bedrock.AWS_BEDROCK.name: self._for_aws, vertex.GOOGLE_VERTEX_AI.name: self._for_google}

    async def authorize(self, step: Step) -> Step:
        """The step as the provider takes it, its credential in the provider's own header, its path whole.

        Where it has a stored key nothing that the client sent in its place goes on; without one the client's headers
        are looked at. Raises MalformedRequest, CredentialRefused, UpstreamFailure, and what reading the
        request body raises.
        """
        way = self._ways.get(step.provider)
        if way is None:
            return step
        if step.credential is None:
            return await way(step, None)
        try:
            return await way(step, step.credential.secret.reveal().encode())
        except MalformedCredential as error:
            raise CredentialRefused(error.said) from None  # the client did not write it

    async def _for_aws(self, step: Step, secret: bytes | None) -> Step:
        if bedrock.needs_whole_body(step, secret):
            await step.body.take_in(MOST_SIGNED_BYTES)
            if step.body.whole is None:
                fits = step.body.length is not None and step.body.length <= MOST_SIGNED_BYTES
                raise Overloaded if fits else BodyTooLarge
        return bedrock.authorized(step, secret, datetime.now(UTC))

    async def _for_google(self, step: Step, secret: bytes | None) -> Step:
        account = vertex.service_account(step, secret)
        if account is not None:
            return vertex.with_token(step, await self._tokens.token(account), account)
        if secret is not None:
            step = vertex.with_token(step, secret, None)
        return vertex.placed(step, None)
