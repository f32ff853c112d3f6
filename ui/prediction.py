"""Predictions and their events, as the service tells of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

_OVER = ("succeeded", "failed", "canceled", "aborted")


@dataclass(frozen=True, slots=True)
class Output:
    """A finished picture.

    Attributes:
        link: where this page passes it on, relative to the page's address. It is valid for an hour
            by default, and for whoever has it.
        seed: the seed that gives this picture alone.
    """

    index: int
    link: str
    media_type: str
    bytes: int
    width: int
    height: int
    seed: int
    prompt: str
    warnings: tuple[str, ...]
    screening: tuple[str, ...]

    @classmethod
    def of(cls, identifier: str, body: Mapping[str, Any]) -> Self:
        """From an element of ``outputs``, or the data of an ``output`` event."""
        index = body["index"]
        query = urlsplit(body["url"]).query
        return cls(
            index=index,
            link=f"picture/{quote(identifier)}/{index}?{query}",
            media_type=body["media_type"],
            bytes=body["bytes"],
            width=body["width"],
            height=body["height"],
            seed=body["seed"],
            prompt=body["prompt"],
            warnings=tuple(body["warnings"]),
            screening=tuple(body["screening"]),
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was ordered, and how it stands.

    Attributes:
        status: ``starting``, ``processing``, ``succeeded``, ``failed``, ``canceled`` ...
        input: the fields as they were sent, with the seed, and a digest for each picture.
        created_at: RFC 3339, in UTC.
        is_removed: whether its pictures were deleted, as their time was over.
        queue_position: how many wait in front, where that is known.
        step: steps that are done, of all its pictures, and ``total`` of how many.
    """

    id: str
    model: str
    status: str
    input: Mapping[str, Any]
    outputs: tuple[Output, ...]
    error: str | None
    error_code: str | None
    created_at: str
    completed_at: str | None
    seconds: float | None
    is_removed: bool
    queue_position: int | None
    step: int
    total: int

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in _OVER

    @property
    def task(self) -> str:
        """``txt2img``, ``img2img`` or ``inpaint``."""
        if "mask" in self.input:
            return "inpaint"
        return "img2img" if {"image", "img"} & set(self.input) else "txt2img"

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the API that make it again, without pictures, with the model."""
        left_out = ("image", "img", "mask", "previews")
        given = {name: value for name, value in self.input.items() if name not in left_out}
        return {**given, "model": self.model}

    def once_more(self, index: int, *, vary: bool) -> dict[str, Any]:
        """The fields that make one of its pictures again; without the seed, to ``vary`` it."""
        wanted = {name: value for name, value in self.fields.items() if name != "num_images"}
        seed = int(wanted.pop("seed")) + index
        return wanted if vary else {**wanted, "seed": seed}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From the body of a response, or the data of an event."""
        return cls(
            id=body["id"],
            model=body["model"],
            status=body["status"],
            input=body["input"],
            outputs=tuple(Output.of(body["id"], one) for one in body["outputs"]),
            error=body["error"],
            error_code=body["error_code"],
            created_at=body["created_at"],
            completed_at=body["completed_at"],
            seconds=body["metrics"].get("predict_time"),
            is_removed=body["data_removed"],
            queue_position=body["queue_position"],
            step=body["progress"]["step"],
            total=body["progress"]["total"],
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a prediction.

    Attributes:
        name: ``prediction``, ``start``, ``progress``, ``output``, ``completed``, ``dropped``; and
            ``lost`` of our own: the service does not answer, and is asked again.
        id: what to come back with; None where the event has none.
    """

    name: str
    data: Mapping[str, Any]
    id: str | None = None


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events in the lines of a ``text/event-stream``."""
    name, identifier = "", None
    data: list[str] = []
    async for line in lines:
        if not line:
            if data:
                yield Event(name, json.loads("\n".join(data)), identifier)
            name, data, identifier = "", [], None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            identifier = value
