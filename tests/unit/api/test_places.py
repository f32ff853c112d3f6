from __future__ import annotations

import pytest

from api.places import Places
from contract.errors import ErrorCode, RequestError


def test_places_are_bounded_by_all_and_by_client() -> None:
    places = Places(3, 2, "wait", retry_after=2)

    with places.taken("a"), places.taken("a"):
        with pytest.raises(RequestError, match="at most 2 requests of one client may wait"):
            places.check("a")
        with places.taken("b"), pytest.raises(RequestError) as refused:
            places.check("c")
        assert refused.value.code is ErrorCode.BUSY
        assert refused.value.retry_after == 2
        places.check("c")
    places.check("a")
