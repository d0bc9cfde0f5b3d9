"""The driver's errors as ours."""

from __future__ import annotations

from typing import Final

from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WTimeoutError,
)

from schemas.errors import BoxhubError, InvalidInput, PayloadTooLarge, PermissionDenied, StoreUnavailable

_NOT_ALLOWED: Final = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
_UNREACHABLE = (ConnectionFailure, NetworkTimeout, ExecutionTimeout, WTimeoutError, WaitQueueTimeoutError)


def may_pass(error: PyMongoError) -> bool:
    """Whether the same operation may succeed in a moment: the connection, or a change of the primary, was to blame."""
    return isinstance(error, _UNREACHABLE) or error.has_error_label("RetryableWriteError")


def translate(error: PyMongoError, where: str) -> BoxhubError:
    """The error to raise ``from error``."""
    if may_pass(error):
        return StoreUnavailable(f"{where}: {_first_line(error)}", server=where)
    if isinstance(error, OperationFailure) and error.code in _NOT_ALLOWED:
        return PermissionDenied(f"{where} refuses the credential: {_first_line(error)}", server=where)
    if isinstance(error, DocumentTooLarge):
        return PayloadTooLarge(f"{where}: {_first_line(error)}")
    if isinstance(error, (InvalidURI, ConfigurationError)):
        return InvalidInput(f"the MongoDB URL cannot be used: {_first_line(error)}")
    return BoxhubError(f"{where}: {_first_line(error)}", server=where)


def is_duplicate(error: PyMongoError) -> bool:
    """A unique index refused it. FerretDB 1 says so with a plain internal error when it happens in an update."""
    if not isinstance(error, OperationFailure):
        return False
    return error.code == 11000 or "UNIQUE constraint failed" in str(error)


def _first_line(error: PyMongoError) -> str:
    return str(error).partition("\n")[0][:300]
