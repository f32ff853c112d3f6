"""Signed links to pictures: whoever has one may fetch the picture, until it expires."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

from contract.errors import ErrorCode, RequestError

_PATH = "/predictions/{identifier}/output/{index}"


class Links:
    """Signs and checks.

    Args:
        secret: the same on all hosts.
        seconds: how long a link is valid.
    """

    def __init__(self, secret: bytes, seconds: float) -> None:
        self._secret = secret
        self._seconds = seconds

    def output(self, base_url: str, identifier: str, index: int) -> str:
        """A link to a picture of a prediction, valid from now on."""
        expires = int(time.time() + self._seconds)
        query = {"expires": expires, "signature": self._signature(identifier, index, expires)}
        path = _PATH.format(identifier=quote(identifier), index=index)
        return f"{base_url}{path}?{urlencode(query)}"

    def check(self, identifier: str, index: int, expires: int, signature: str) -> None:
        """Raise ``RequestError``: FORBIDDEN for a signature not ours, GONE for an old one."""
        expected = self._signature(identifier, index, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise RequestError(
                ErrorCode.FORBIDDEN, "the link's signature is wrong", field="signature"
            )
        if expires < time.time():
            raise RequestError(
                ErrorCode.GONE,
                "the link has expired: the prediction has a new one",
                field="expires",
            )

    def _signature(self, identifier: str, index: int, expires: int) -> str:
        signed = f"{identifier}\n{index}\n{expires}".encode()
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
