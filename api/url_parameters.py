"""Parameters in a URL that its endpoint does not read: refused by name, or reported."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request

from api.endpoints import Endpoint
from api.errors import shown
from contract.errors import ErrorCode, RequestError

# Of more names, the number alone.
_LISTED: Final = 16


def ignored(endpoint: Endpoint, request: Request) -> list[str]:
    """A sentence about each that has no effect.

    Raises:
        RequestError: INVALID_REQUEST, unless the endpoint's clients may send any.
    """
    given = QueryParams(request.scope.get("query_string", b""))
    if not given:
        return []
    known = [one["name"] for one in endpoint.parameters if one["in"] == "query"]
    names = [name for name in given if name not in known]
    if not names:
        return []
    if not endpoint.any_parameters:
        fields = f"; the fields are {', '.join(known)}" if known else ": this URL has no parameters"
        message = f"{shown(names[0])} is not a field{fields}"
        raise RequestError(ErrorCode.INVALID_REQUEST, message, field=names[0])
    sentences = [f"{shown(name)} in the URL is ignored" for name in names[:_LISTED]]
    if len(names) > _LISTED:
        sentences.append(f"and {len(names) - _LISTED} more")
    return sentences
