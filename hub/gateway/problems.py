"""From our errors to HTTP: one table, used by REST and A2A alike."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from schemas import errors
from schemas.errors import BoxhubError, ErrorInfo

_STATUS: tuple[tuple[type[BoxhubError], int], ...] = (
    (errors.PayloadTooLarge, 413),
    (errors.InvalidInput, 422),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Unauthenticated, 401),
    (errors.PermissionDenied, 403),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.Cancelled, 409),
    (errors.DriverUnavailable, 422),
    (errors.LimitExceeded, 422),
    (errors.SkillFailed, 502),
    (errors.BoxDied, 502),
)


def status_of(error: BoxhubError) -> int:
    """The HTTP status; the first family in the table that fits, 500 for none."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(error: BoxhubError) -> JSONResponse:
    """``{"error": ErrorInfo}`` with its status; ``Retry-After`` where trying again makes sense."""
    headers = {"Retry-After": "1"} if error.retryable else None
    return JSONResponse({"error": jsonable_encoder(error.to_info())}, status_of(error), headers)


def install(app: FastAPI) -> None:
    """Every error of ours, and every request FastAPI refuses, leaves in the same shape."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, BoxhubError)
        return problem(error)

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = [{"loc": list(e["loc"]), "message": e["msg"]} for e in error.errors()]
        info = ErrorInfo(code="invalid_input", message="the request does not fit its schema", details={"errors": found})
        return JSONResponse({"error": jsonable_encoder(info)}, 422)

    app.add_exception_handler(BoxhubError, ours)
    app.add_exception_handler(RequestValidationError, refused)
