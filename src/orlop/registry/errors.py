"""What a client is told when it goes wrong: distribution-spec 1.1, "Error Codes"."""

from __future__ import annotations

import json
from http import HTTPStatus

#: Code -> the status that goes with it where nothing else is said.
CODES = {
    "BLOB_UNKNOWN": HTTPStatus.NOT_FOUND,
    "BLOB_UPLOAD_INVALID": HTTPStatus.BAD_REQUEST,
    "BLOB_UPLOAD_UNKNOWN": HTTPStatus.NOT_FOUND,
    "DIGEST_INVALID": HTTPStatus.BAD_REQUEST,
    "MANIFEST_BLOB_UNKNOWN": HTTPStatus.NOT_FOUND,
    "MANIFEST_INVALID": HTTPStatus.BAD_REQUEST,
    "MANIFEST_UNKNOWN": HTTPStatus.NOT_FOUND,
    "NAME_INVALID": HTTPStatus.BAD_REQUEST,
    "NAME_UNKNOWN": HTTPStatus.NOT_FOUND,
    "SIZE_INVALID": HTTPStatus.BAD_REQUEST,
    "UNAUTHORIZED": HTTPStatus.UNAUTHORIZED,
    "DENIED": HTTPStatus.FORBIDDEN,
    "UNSUPPORTED": HTTPStatus.METHOD_NOT_ALLOWED,
    "TOOMANYREQUESTS": HTTPStatus.TOO_MANY_REQUESTS,
    "UNKNOWN": HTTPStatus.INTERNAL_SERVER_ERROR,  # ours: only of answers above 499
}

Headers = tuple[tuple[str, str], ...]


class Refused(Exception):
    """The request is answered with `status` and one error for each of `details`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: HTTPStatus | None = None,
        details: tuple[object, ...] = (None,),
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = CODES[code] if status is None else status
        self.details = details
        self.headers = headers

    def body(self) -> bytes:
        errors = []
        for detail in self.details:
            error: dict[str, object] = {"code": self.code, "message": self.message}
            if detail is not None:
                error["detail"] = detail
            errors.append(error)
        return json.dumps({"errors": errors}).encode() + b"\n"
