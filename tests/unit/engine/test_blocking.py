"""Waiting for pictures."""

from __future__ import annotations

import pytest

from contract.errors import ErrorCode, RequestError
from engine.blocking import generate
from engine.engine import Engine
from tests.conftest import make_request


def test_the_pictures_come_in_the_order_of_their_seeds(engine: Engine) -> None:
    images = generate(engine, make_request(num_images=3, num_inference_steps=2, seed=40))
    assert [image.seed for image in images] == [40, 41, 42]


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"model": "none"}, ErrorCode.NOT_FOUND), ({"scheduler": "none"}, ErrorCode.INTERNAL)],
)
def test_no_picture_is_an_error(engine: Engine, changes: dict[str, str], code: ErrorCode) -> None:
    with pytest.raises(RequestError) as failure:
        generate(engine, make_request(**changes))
    assert failure.value.code is code


def test_it_gives_up_when_told(engine: Engine) -> None:
    with pytest.raises(RequestError) as failure:
        generate(engine, make_request(num_inference_steps=150), cancel_after=0.0)
    assert failure.value.code is ErrorCode.CANCELLED
    (image,) = generate(engine, make_request(num_inference_steps=1), cancel_after=60.0)
    assert image.seed == 7
