"""The HTTP/1.1 parser: h11 with bounds on the head of a request."""

from __future__ import annotations

import re

import h11

# Browsers, proxies and their cookies stay far below; other servers refuse from 8 to 64 KiB.
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
_VERSIONS = (b"1.0", b"1.1")
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class Parser(h11.Connection):
    """h11's server side; h11 bounds a head only as long as it is incomplete.

    Attributes:
        fault: the last fault of the client's that it has raised.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.fault: h11.RemoteProtocolError | None = None

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event, as of h11.

        Raises:
            h11.RemoteProtocolError: the client's mistake; hint 431 where the head is too large.
        """
        try:
            if self.their_state is h11.IDLE:
                self._check_size()
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._check(event)
        except h11.RemoteProtocolError as error:
            self.fault = error
            raise
        return event

    def _check_size(self) -> None:
        received = self.trailing_data[0]
        if len(received) > MAX_HEAD_BYTES and not _END_OF_HEAD.search(received, 0, MAX_HEAD_BYTES):
            raise h11.RemoteProtocolError("head too long", error_status_hint=431)

    def _check(self, request: h11.Request) -> None:
        if len(request.headers) > MAX_HEADERS:
            raise h11.RemoteProtocolError("too many headers", error_status_hint=431)
        if request.http_version not in _VERSIONS:
            raise h11.RemoteProtocolError("unsupported version", error_status_hint=505)
        if {b"transfer-encoding", b"content-length"} <= {name for name, _ in request.headers}:
            # A proxy that goes by the other one sees another request (RFC 9112, 6.1).
            raise h11.RemoteProtocolError("two lengths of a body")
