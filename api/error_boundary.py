"""Every request gets an answer: where something fails, the native error body."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api import errors
from api.disconnect import client_left
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)


async def with_error_response(work: Awaitable[Response]) -> Response:
    """The answer that ``work`` comes to, or what there is to say of its failure."""
    try:
        return await work
    except RequestError as error:
        if error.code is ErrorCode.INTERNAL:
            logger.error("internal error: %s", error.message)
        return errors.response(error)
    except ClientDisconnect:
        return errors.response(client_left())
    except Exception:
        logger.exception("internal error")
        return errors.response(RequestError(ErrorCode.INTERNAL, "unexpected exception"))
