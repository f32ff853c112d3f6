"""A site with predictions over a backend without an engine, and clients at several addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from starlette.testclient import TestClient

from api.app import create_app, middleware
from api.drain import Drain
from api.pictures import Pictures
from api.predictions.opening import Opening
from api.predictions.predictions import Predictions
from api.protocols.base import Protocol, Protocols
from api.protocols.predictions.acceptance import Acceptance
from settings import Settings
from tests.unit.api.conftest import ColourBackend


@contextmanager
def keeping_site(
    make: Callable[[], Predictions],
    backend: ColourBackend,
    settings: Settings,
    served: Callable[[Pictures, Acceptance], Sequence[Protocol]],
) -> Iterator[TestClient]:
    """A client at 10.0.0.1 of some protocols; ``make`` makes the predictions at their first use."""
    opening = Opening(make, at_start=False)
    protocols = Protocols(served(Pictures(backend, settings), Acceptance(opening, settings)))
    app = create_app(protocols)
    app.user_middleware.extend(middleware(settings, Drain(), protocols))
    with TestClient(app, raise_server_exceptions=False, client=("10.0.0.1", 1)) as client:
        yield client
        client.portal.call(opening.finish, 0)  # type: ignore[union-attr]
        client.portal.call(opening.close)  # type: ignore[union-attr]


def other(client: TestClient) -> TestClient:
    """The same service from another address."""
    made = TestClient(client.app, raise_server_exceptions=False, client=("10.0.0.2", 1))
    made.portal = client.portal
    return made
