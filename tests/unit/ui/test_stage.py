"""How an order stands, from its events, and its pictures as HTML."""

from __future__ import annotations

from typing import Any

from ui import cards
from ui.prediction import Event, Prediction
from ui.stage import NOTHING, Stage


def body(**changes: Any) -> dict[str, Any]:
    """A prediction, as the service has it."""
    common: dict[str, Any] = {
        "id": "abc-1",
        "model": "tiny",
        "status": "starting",
        "input": {"prompt": "a pear", "seed": 7, "num_images": 2},
        "outputs": [],
        "error": None,
        "error_code": None,
        "created_at": "2026-01-31T12:00:00.000Z",
        "completed_at": None,
        "metrics": {},
        "data_removed": False,
        "queue_position": None,
        "progress": {"step": 0, "total": 0},
    }
    return {**common, **changes}


def output(index: int, **changes: Any) -> dict[str, Any]:
    common = {
        "index": index,
        "url": f"http://other:3000/predictions/abc-1/output/{index}?expires=1&signature=a1",
        "media_type": "image/webp",
        "bytes": 10,
        "width": 64,
        "height": 64,
        "seed": 7 + index,
        "prompt": "a pear",
        "warnings": [],
        "screening": [],
    }
    return {**common, **changes}


def progress(index: int, step: int, preview: str | None = None) -> Event:
    return Event("progress", {"index": index, "step": step, "total": 10, "preview": preview})


def test_the_place_in_the_queue_then_steps_and_time_left_then_the_end() -> None:
    now = [0.0]
    stage = Stage(lambda: now[0])
    assert "Sending" in stage.status()
    stage.tell(Event("prediction", body(queue_position=3)))
    assert "3 in front" in stage.status()
    stage.tell(Event("prediction", body(queue_position=0)))
    assert "next" in stage.status()
    stage.tell(Event("start", {}))
    stage.tell(progress(0, 1))
    now[0] = 9.0
    stage.tell(progress(1, 3))
    # Of two pictures: 4 of 20 steps, 3 of them in 9 seconds.
    assert "Step 4 of 20, about 48 s left" in stage.status()
    assert 'value="0.2000"' in stage.status()
    stage.tell(Event("lost", {}))
    assert "does not answer" in stage.status()
    done = body(status="succeeded", outputs=[output(0), output(1)], metrics={"predict_time": 2})
    stage.tell(Event("completed", done))
    assert "2 pictures, in 2.0 s" in stage.status()
    assert stage.is_over
    assert stage.failure() is None


def test_an_order_that_is_begun_again_forgets_its_steps() -> None:
    stage = Stage(lambda: 0.0)
    stage.tell(Event("prediction", body()))
    stage.tell(progress(0, 9, "AAAA"))
    stage.tell(Event("start", {}))
    assert "AAAA" not in stage.pictures()
    stage.tell(progress(0, 1))
    assert "Step 1 of 20" in stage.status()


def test_ends_without_pictures() -> None:
    for status, line in (("canceled", "cancelled"), ("failed", "failed")):
        stage = Stage()
        stage.tell(Event("completed", body(status=status, error="screening rejected it")))
        assert line in stage.status()
        assert stage.pictures() == NOTHING
        assert stage.failure() == (None if status == "canceled" else "screening rejected it.")


def test_unfinished_pictures_are_shown_as_they_are() -> None:
    stage = Stage()
    stage.tell(Event("prediction", body()))
    stage.tell(progress(1, 2, "AAAA"))
    shown = stage.pictures()
    assert shown.count("<figure") == 2
    assert "data:image/png;base64,AAAA" in shown


def test_cards_pass_the_link_on_and_escape_what_others_wrote() -> None:
    hostile = '<img src=x onerror="alert(1)">'
    prediction = Prediction.of(
        body(
            input={"prompt": hostile, "seed": 7, "negative_prompt": hostile},
            outputs=[output(0, prompt=hostile, warnings=[hostile])],
        )
    )
    shown = cards.gallery(prediction)
    assert 'src="picture/abc-1/0?expires=1&amp;signature=a1"' in shown
    assert "other:3000" not in shown
    assert 'download="tiny-7.webp"' in shown
    assert "<img src=x" not in shown
    assert shown.count("data-action=") == 4


def test_the_same_again_is_the_picture_alone() -> None:
    prediction = Prediction.of(body(outputs=[output(0), output(1)]))
    assert prediction.once_more(1, vary=False) == {"prompt": "a pear", "seed": 8, "model": "tiny"}
    assert prediction.once_more(1, vary=True) == {"prompt": "a pear", "model": "tiny"}
