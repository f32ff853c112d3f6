"""What reaches the client of a request that more than one replica had."""

from __future__ import annotations

from contract.errors import ErrorCode
from contract.events import Event, Failed, Image, Progress, Queued
from deployment.ray.delivery import Delivery
from tests.conftest import make_request


def image(index: int, seed: int = 7, last: bool = False) -> Image:
    return Image(b"png", "image/png", 64, 64, seed, index=index, last=last)


def passed(delivery: Delivery, *events: Event) -> list[Event]:
    return [seen for event in events if (seen := delivery.pass_on(event)) is not None]


def test_what_one_replica_sends_is_passed_on_as_it_is() -> None:
    delivery = Delivery(make_request(num_images=2))
    assert delivery.attempt(300) == make_request(num_images=2, deadline=300)
    events: list[Event] = [
        Queued(3),
        Progress(1, 8, index=1),
        Progress(1, 8, index=0),
        image(1, 8),
        Progress(2, 8, index=0),
        image(0, last=True),
    ]

    assert passed(delivery, *events) == events


def test_the_next_replica_is_asked_for_what_is_missing() -> None:
    prompts = ("red", "green", "blue", "white")
    delivery = Delivery(make_request(num_images=4, prompt="red", prompts=prompts, seed=7))
    delivery.attempt(300)
    passed(delivery, image(0), image(2), image(3))

    again = delivery.attempt(120)

    assert (again.seed, again.num_images, again.deadline) == (8, 1, 120)
    assert (again.prompt, again.prompts) == ("green", ("green",))
    # It calls that its picture 0, and its last.
    assert passed(delivery, image(0, 8, last=True)) == [image(1, 8, last=True)]


def test_a_picture_between_missing_ones_comes_once() -> None:
    delivery = Delivery(make_request(num_images=3))
    delivery.attempt(300)
    passed(delivery, image(1))
    assert delivery.attempt(300).num_images == 3

    seen = passed(delivery, image(1, last=False), image(2), image(0, last=True))

    assert seen == [image(2), image(0, last=True)]


def test_the_place_and_the_steps_never_go_back() -> None:
    delivery = Delivery(make_request())
    delivery.attempt(300)
    assert passed(delivery, Queued(4), Queued(5), Queued(2), Queued(2)) == [Queued(4), Queued(2)]
    assert passed(delivery, Progress(1, 8), Progress(3, 8)) == [Progress(1, 8), Progress(3, 8)]
    delivery.attempt(200)

    seen = passed(delivery, Queued(0), Progress(2, 8), Progress(3, 8), Progress(4, 8))

    assert seen == [Progress(4, 8)]


def test_a_failure_is_passed_on() -> None:
    failed = Failed(ErrorCode.INTERNAL, "no")
    assert Delivery(make_request()).pass_on(failed) == failed
