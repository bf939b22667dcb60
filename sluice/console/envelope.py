"""What every management reply is wrapped in, and the errors it can tell (contract 9.1)."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec
from starlette.responses import Response

Result = TypeVar("Result")
PathItem = str | int


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    code: int
    message: str
    path: tuple[PathItem, ...] = ()


class PageInfo(msgspec.Struct, frozen=True):
    page: int
    per_page: int
    count: int
    total_count: int


class CountedPageInfo(PageInfo, frozen=True):
    """With the number of pages, as lists of custom providers have it."""

    total_pages: int


class Success(msgspec.Struct, Generic[Result], frozen=True):
    result: Result
    success: bool = True
    errors: tuple[()] = ()
    messages: tuple[()] = ()


class SuccessPage(msgspec.Struct, Generic[Result], frozen=True):
    result: list[Result]
    result_info: PageInfo
    success: bool = True
    errors: tuple[()] = ()
    messages: tuple[()] = ()


class Failure(msgspec.Struct, frozen=True):
    errors: tuple[Problem, ...]
    success: bool = False
    messages: tuple[Problem, ...] = ()
    result: None = None


class ApiError(Exception):
    """A management request that is refused. The message goes to the client: never put a secret into it.

    Where the product's words are fixed and say little, the client is `told` more besides.
    """

    told: str = ""

    def __init__(self, status: int, code: int, message: str, path: tuple[PathItem, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code, message, path)


def invalid(message: str, *path: PathItem) -> ApiError:
    """400/7001; `path` begins with `body` or `query` and leads to the field."""
    return ApiError(400, 7001, message, path)


def not_built(what: str, *path: PathItem) -> ApiError:
    """A part of the contract that no version has yet: refused, for to ignore it would be to lie."""
    return invalid(f"{what}: not available in this version of Sluice", *path)


def not_found(what: str = "Not Found") -> ApiError:
    return ApiError(404, 7002, what)


def no_route() -> ApiError:
    return ApiError(404, 7003, "No route for that URI")


def unauthenticated() -> ApiError:
    return ApiError(401, 10000, "Authentication error")


def forbidden(told: str = "") -> ApiError:
    error = ApiError(403, 10000, "Authentication error")
    error.told = told
    return error


def internal_error() -> ApiError:
    return ApiError(500, 7000, "Internal error")


def busy(message: str) -> ApiError:
    """503: the same request may succeed later."""
    return ApiError(503, 7000, message)


def reply(result: object, status: int = 200) -> Response:
    return json_response(Success(result), status)


def reply_page(result: list[Result], info: PageInfo) -> Response:
    return json_response(SuccessPage(result, info))


def refusal(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    messages = (Problem(error.problem.code, error.told),) if error.told else ()
    return json_response(Failure((error.problem,), messages=messages), error.status, headers)


def json_response(content: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def iso_ms(unix_ms: int) -> str:
    """As the API writes times: UTC with milliseconds."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_ms(time: datetime) -> int:
    return math.floor(time.timestamp() * 1000)
