"""Everything that can go wrong on the inference side, as contract section 12 numbers it."""

from typing import ClassVar, Final, Literal

from sluice.values.custom_provider import is_custom

Fault = Literal["client", "gateway", "upstream"]
LONGEST_SLUG: Final = 64
"""How much of a name that is no provider's is given back to the client."""
LONGEST_DETAIL: Final = 1000
"""What is wrong may be quoted from a body, as long as that is."""


class GatewayError(Exception):
    """A request that Sluice itself refuses or cannot finish.

    `code` is the catalogue's number, `status` the HTTP status, `fault` whose fault it is, `retryable` whether
    another attempt may help. What is `said` goes to the client, the `detail` to the log: never put a secret into them.
    Where the product's words are fixed and say little, the client is `told` more besides.
    """

    code: ClassVar[int] = 2004
    status: ClassVar[int] = 400
    fault: ClassVar[Fault] = "client"
    retryable: ClassVar[bool] = False
    message: ClassVar[str] = "Malformed request"
    told: str = ""
    lines: bytes = b""
    """Header fields that its reply has besides."""

    def __init__(self, said: str | None = None, detail: str = "") -> None:
        super().__init__(detail or said or self.message)
        self.said = (said or self.message)[:LONGEST_DETAIL]
        self.detail = detail[:LONGEST_DETAIL]


def forget_frames(error: BaseException | None) -> None:
    """An error that is told, and kept a while: the frames it passed through hold what holds it, until collected."""
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class GatewayNotFound(GatewayError):
    """The account or the gateway does not exist."""

    code, status = 2001, 400
    message = "Please configure AI Gateway in the Cloudflare dashboard"
    told = "This server has no such account, or the account no such gateway"


class OutputUnreadable(GatewayError):
    """A provider's reply is not what its protocol promises, so that it cannot be put into another's shape."""

    code, status, fault, retryable = 2002, 400, "upstream", True
    message = "Failed to parse model output"

    def __init__(self, detail: str) -> None:
        super().__init__(None, detail)


class RateLimited(GatewayError):
    """There were as many requests as the gateway allows, or the stored key."""

    code, status = 2003, 429
    message = "Rate limited"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__()
        self.lines = b"Retry-After: %d\r\n" % retry_after_s


class SpendLimited(GatewayError):
    """A rule says that no more money is to be spent. What is said names it, to people who read logs too."""

    code, status = 2045, 429
    message = "Spend limit exceeded"

    def __init__(self, said: str) -> None:
        super().__init__(said, said)


class MalformedRequest(GatewayError):
    """The request cannot be understood; the message names the culprit."""


class MalformedCredential(MalformedRequest):
    """A key that is a document cannot be understood. Where it is a stored one, no client is to blame."""


class HeadTooLarge(MalformedRequest):
    status = 431
    message = "Request header fields too large"


class BodyTooLarge(MalformedRequest):
    status = 413
    message = "Request body too large"


class RequestTimeout(MalformedRequest):
    """The client did not send its request in time."""

    status = 408
    message = "The request did not arrive in time"


class PathNotFound(MalformedRequest):
    status = 404
    message = "Not found"


class MethodNotAllowed(MalformedRequest):
    status = 405
    message = "Method not allowed"


class WebSocketVersionNotSupported(MalformedRequest):
    message = "WebSocket version not supported"
    lines = b"Sec-WebSocket-Version: 13\r\n"  # RFC 6455, 4.2.2: what the client may come back with


class UnsupportedEncoding(MalformedRequest):
    status = 501
    message = "Transfer coding not supported"


class UnsupportedVersion(MalformedRequest):
    status = 505
    message = "HTTP version not supported"


class TemplateFailure(MalformedRequest):
    """The words of an earlier step cannot be put where a step wants them."""


class InvalidProvider(GatewayError):
    code, status = 2008, 400
    message = "Invalid provider"

    def __init__(self, slug: str) -> None:
        super().__init__()
        name = slug[:LONGEST_SLUG]
        self.told = (
            f"This account has no custom provider '{name}' that is enabled"
            if is_custom(slug)
            else f"This version of Sluice has no provider '{name}'"
        )


class Unauthorized(GatewayError):
    code, status = 2009, 401
    message = "Unauthorized"


class CredentialsRefused(GatewayError):
    """The provider does not take the key that it was called with (contract 1.5)."""

    code, status, fault = 2009, 401, "upstream"
    message = "The provider refused the credentials"


class ModelNotFound(GatewayError):
    """No provider is known by the model's author."""

    code, status = 7003, 404
    message = "Model not found"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model not found: {model_id[:LONGEST_SLUG]}")


class InputInvalid(GatewayError):
    """The input is none that the model takes."""

    code, status = 7003, 400
    message = "Input invalid"


class UnknownKeyAlias(GatewayError):
    code, status = 2040, 400
    message = "Unknown provider key alias"


class CredentialRequired(GatewayError):
    """No key may be used that is not the request's own or the gateway's, and there is neither."""

    code, status = 2043, 400
    message = "A provider key is required"

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.told = (
            f"The request has no key for {provider} and the gateway has none stored that may be used for it; another"
            " may not be used (byok_only, or cf-aig-no-wholesale)"
        )


class BadChatCompletion(GatewayError):
    """A call of the unified endpoint does not name a provider and a model of it."""

    code, status = 2019, 400
    message = "Chat completion bad format"
    told = "The model must be a text that names its provider too, as openai/gpt-4o-mini"


class RouteNotFound(GatewayError):
    """There are no dynamic routes yet."""

    code, status = 2031, 404
    message = "Dynamic route not found"
    told = "This version of Sluice has no dynamic routes"


class UpstreamFailure(GatewayError):
    """No reply could be had from the provider: the client is told that, the log why."""

    code, status, fault, retryable = 2005, 400, "upstream", True
    message = "Failed to get response from provider"

    def __init__(self, detail: str) -> None:
        super().__init__(None, detail)


class UpstreamUnreachable(UpstreamFailure):
    """Name resolution, connection or TLS failed."""


class UpstreamTimeout(UpstreamFailure):
    """Connecting, the first byte or the next byte took too long."""


class UpstreamBroken(UpstreamFailure):
    """The provider's reply was cut short or is not HTTP."""


class CredentialRefused(UpstreamFailure):
    """A provider gives no token for the credential of the request, or for the stored one."""

    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.told = detail


class GoesInCircles(GatewayError):
    """A custom provider leads to a gateway, perhaps to the one that it is called by."""

    code, status = 2005, 508
    message = "Failed to get response from provider"
    told = "The call has been through too many gateways: a custom provider seems to lead back to the one that calls it"


class Overloaded(GatewayError):
    """A bound of this server is reached: connections, pool waiters, a full spool that must not drop."""

    code, status, fault, retryable = 2005, 503, "gateway", True
    message = "The gateway is at its limit, try again"


class InternalFault(GatewayError):
    """A bug of ours."""

    code, status, fault = 2005, 500, "gateway"
    message = "Internal error"
