"""The page's client, against the real API over a backend without an engine."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from api.keys.key import new_key
from contract.errors import ErrorCode
from contract.events import Failed
from tests.unit.api.conftest import ColourBackend
from tests.unit.ui.api_site import served
from ui.prediction import Event
from ui.refusal import Refusal
from ui.service import Service
from ui.session import Session
from ui.watching import watched as watched_html

Trial = Callable[[Service], Awaitable[None]]


def attempt(trial: Trial, backend: ColourBackend, folder: Path | None, **options: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(60), served(backend, folder, **options) as service:
            await trial(service)

    asyncio.run(run())


async def watched(session: Session, identifier: str) -> list[Event]:
    return [event async for event in session.watch(identifier)]


async def refusal(asked: Awaitable[object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value


def test_models_become_what_forms_are_made_of(backend: ColourBackend) -> None:
    async def trial(service: Service) -> None:
        known = await service.session().served()
        assert known.default.name == "tiny"
        assert known.default.defaults["num_inference_steps"] == 20
        assert (known.limits.max_images, known.default.multiple_of) == (8, 8)
        assert "euler" in known.schedulers
        assert await service.is_ready()

    attempt(trial, backend, None)


def test_an_order_is_watched_to_its_end_and_its_pictures_are_passed_on(
    backend: ColourBackend, tmp_path: Path
) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        wanted = {"prompt": "a pear", "seed": 7, "num_images": 2, "model": "tiny", "previews": True}
        ordered = await session.order(wanted)
        assert (ordered.status, ordered.task) == ("starting", "txt2img")

        events = await watched(session, ordered.id)
        steps = [event.data for event in events if event.name == "progress"]
        assert {one["index"] for one in steps} == {0, 1}
        assert all(one["preview"] for one in steps)
        assert events[-1].name == "completed"

        done = await session.find(ordered.id)
        assert [output.seed for output in done.outputs] == [7, 8]
        assert done.fields == {"prompt": "a pear", "seed": 7, "num_images": 2, "model": "tiny"}
        link = done.outputs[1].link
        assert link.startswith(f"picture/{ordered.id}/1?expires=")
        async with service.picture(ordered.id, 1, link.partition("?")[2], {}) as answer:
            passed_on = await answer.aread()
        assert passed_on == await session.output(ordered.id, 1)
        with PIL.Image.open(io.BytesIO(passed_on)) as picture:
            assert "a pear" in picture.info["parameters"]

    attempt(trial, backend, tmp_path)


def test_who_comes_back_to_an_order_hears_the_rest(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        backend.hold = asyncio.Event()
        session = service.session(tag="anna")
        ordered = await session.order({"prompt": "a pear"})
        async with aclosing(session.watch(ordered.id)) as events:
            assert (await anext(events)).name == "prediction"
        backend.hold.set()
        names = [event.name for event in await watched(session, ordered.id)]
        assert names[-1] == "completed"
        assert [event.name for event in await watched(session, ordered.id)][-1] == "completed"

    attempt(trial, backend, tmp_path)


def test_a_cancelled_order_ends_for_who_watches(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        backend.hold = asyncio.Event()
        session = service.session(tag="anna")
        ordered = await session.order({"prompt": "a pear"})
        watching = asyncio.create_task(watched(session, ordered.id))
        while not backend.requests:
            await asyncio.sleep(0.01)
        assert (await session.cancel(ordered.id)).status == "canceled"
        assert (await watching)[-1].data["status"] == "canceled"

    attempt(trial, backend, tmp_path)


def test_the_browser_watches_an_order_by_its_ticket(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        ordered = await session.order({"prompt": "a pear", "num_images": 2})
        ticket = service.tickets.issue(session, ordered.id)
        told = [json.loads(line[6:]) async for line in watched_html(service, ticket)]
        assert told[-1]["over"]
        assert not any(one["over"] for one in told[:-1])
        assert told[-1]["pictures"].count("data-action") == 8
        # It has been used up, as another one cannot be guessed.
        assert not [line async for line in watched_html(service, ticket)]
        assert not [line async for line in watched_html(service, "another")]

    attempt(trial, backend, tmp_path)


def test_who_may_not_watch_an_order_any_more_is_told_so(
    backend: ColourBackend, tmp_path: Path
) -> None:
    """Without its ticket, the page looks at the order itself."""

    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        ticket = service.tickets.issue(session, session.new_id())
        assert not [line async for line in watched_html(service, ticket)]
        assert service.tickets.find(ticket) is None

        backend.hold = asyncio.Event()
        ordered = await session.order({"prompt": "a pear"})
        ticket = service.tickets.issue(session, ordered.id)
        async with aclosing(watched_html(service, ticket)) as told:
            await anext(told)
        # Who has only left comes back with it.
        assert service.tickets.find(ticket) is not None
        backend.hold.set()

    attempt(trial, backend, tmp_path)


def test_a_failure_is_a_sentence(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        backend.failure = Failed(ErrorCode.CONTENT_POLICY_VIOLATION, "screening rejected it")
        session = service.session(tag="anna")
        ordered = await session.order({"prompt": "a pear"})
        await watched(session, ordered.id)
        done = await session.find(ordered.id)
        assert (done.status, done.error) == ("failed", "screening rejected it")

    attempt(trial, backend, tmp_path)


def test_faults_name_their_field(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        why = await refusal(session.order({"prompt": "a pear", "width": 100}))
        assert (why.field, why.status) == ("width", 422)
        assert why.sentence == "width must be a multiple of 8, got 100."
        why = await refusal(session.order({"prompt": "a pear"}, image=b"GIF89a"))
        assert why.field == "image"
        assert not (await session.listing()).predictions

    attempt(trial, backend, tmp_path)


def test_pictures_and_masks_are_sent(backend: ColourBackend, tmp_path: Path) -> None:
    written = io.BytesIO()
    PIL.Image.new("RGB", (128, 128), "white").save(written, "PNG")

    async def trial(service: Service) -> None:
        session = service.session(tag="anna")
        image = written.getvalue()
        assert (await session.order({"prompt": ""}, image=image)).task == "img2img"
        assert (await session.order({"prompt": ""}, image=image, mask=image)).task == "inpaint"

    attempt(trial, backend, tmp_path)


def test_visitors_without_keys_see_their_own_alone(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Service) -> None:
        anna, ben, nobody = (service.session(tag=tag) for tag in ("anna", "ben", ""))
        made = [await anna.order({"prompt": f"pear {number}"}) for number in range(3)]
        for one in made:
            await watched(anna, one.id)
        await ben.order({"prompt": "a plum"})

        first = await anna.listing(limit=2)
        assert [one.input["prompt"] for one in first.predictions] == ["pear 2", "pear 1"]
        rest = await anna.listing(limit=2, cursor=first.cursor)
        assert [one.input["prompt"] for one in rest.predictions] == ["pear 0"]
        assert len((await ben.listing()).predictions) == 1
        assert not (await nobody.listing()).predictions
        for other in (ben, nobody):
            for asked in (
                other.find(made[0].id),
                other.cancel(made[0].id),
                other.delete(made[0].id),
                other.output(made[0].id, 0),
                watched(other, made[0].id),
            ):
                assert (await refusal(asked)).status == 404
        # The id of a picture, which is in its link, does not tell the secret.
        assert not (await service.session(tag=made[0].id.partition("-")[0]).listing()).predictions
        await anna.delete(made[0].id)
        assert len((await anna.listing()).predictions) == 2

    attempt(trial, backend, tmp_path)


def test_visitors_with_keys_see_those_of_their_key(backend: ColourBackend, tmp_path: Path) -> None:
    text, key = new_key("anna")
    other_text, other = new_key("ben")

    async def trial(service: Service) -> None:
        why = await refusal(service.session(tag="anna").served())
        assert (why.wants_key, why.sentence) == (
            True,
            "This service wants a key. Enter yours to go on.",
        )
        why = await refusal(service.session("sd_wrong").served())
        assert why.sentence.startswith("The service does not know this key")
        # As people paste them.
        assert (await refusal(service.session("“sd_wrong”\t1").served())).wants_key

        made = await service.session(text, "anna").order({"prompt": "a pear"})
        elsewhere = service.session(f" {text} ", "another browser")
        assert [one.id for one in (await elsewhere.listing()).predictions] == [made.id]
        assert (await refusal(service.session(other_text, "anna").find(made.id))).status == 404

    attempt(trial, backend, tmp_path, keys=[key, other])


def test_who_shares_the_pages_key_shares_no_pictures(
    backend: ColourBackend, tmp_path: Path
) -> None:
    text, key = new_key("page")

    async def trial(service: Service) -> None:
        made = await service.session(tag="anna").order({"prompt": "a pear"})
        ben = service.session(tag="ben")
        assert not (await ben.listing()).predictions
        assert (await refusal(ben.find(made.id))).status == 404

    attempt(trial, backend, tmp_path, keys=[key], shared=text)


def test_a_service_without_predictions_is_told_of(backend: ColourBackend) -> None:
    async def trial(service: Service) -> None:
        why = await refusal(service.session(tag="anna").order({"prompt": "a pear"}))
        assert "keeps no predictions" in why.sentence

    attempt(trial, backend, None)


def test_a_service_that_is_not_there_does_not_answer() -> None:
    async def trial() -> None:
        service = Service("http://127.0.0.1:1")
        why = await refusal(service.session().served())
        assert why.sentence.startswith("The service does not answer.")
        assert not await service.is_ready()
        await service.close()

    asyncio.run(trial())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("200 OK\r\nContent-Length: 6\r\n\r\n<html>", "What answers is no service"),
        ('200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}', "What answers is no service"),
        ("404 Not Found\r\nContent-Length: 0\r\n\r\n", "What answers is no service"),
        (
            "308 Moved\r\nLocation: https://there\r\nContent-Length: 0\r\n\r\n",
            "The service is elsewhere: https://there",
        ),
        ("502 Bad\r\nContent-Length: 0\r\n\r\n", "The service answered with the status 502."),
    ],
)
def test_what_is_no_service_is_told_in_a_sentence(answer: str, why: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {answer}".encode())
        await writer.drain()
        writer.close()

    async def trial() -> None:
        async with await asyncio.start_server(respond, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            service = Service(f"http://127.0.0.1:{port}")
            said = (await refusal(service.session().served())).sentence
            assert said.startswith(why)
            await service.close()

    asyncio.run(trial())


def test_a_picture_is_classified(backend: ColourBackend) -> None:
    written = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), "white").save(written, "PNG")

    async def trial(service: Service) -> None:
        labels = await service.session().classify(written.getvalue(), 2)
        assert [one.label for one in labels] == ["bright", "grey"]

    attempt(trial, backend, None)
