"""The metering: requests and pictures of keys, counted, and refused above their quotas."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final

from api.keys import current
from api.keys.key import Key
from api.keys.quotas import PICTURES, PIXEL_STEPS, REQUESTS, Left, Quotas
from api.keys.usage import Usage, Used
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed
from contract.request import GenerationRequest

# Failures that cost a client nothing: it got no place, or the fault was ours.
_FREE: Final = frozenset({ErrorCode.BUSY, ErrorCode.NOT_READY, ErrorCode.INTERNAL})


class Metering:
    """Keeps account of the keys.

    Args:
        usage: what they have had; default: in this process, since it has started.
    """

    def __init__(self, usage: Usage | None = None) -> None:
        self._usage = usage or Usage()
        self._quotas = Quotas(self._usage)

    def used(self, key: str) -> Used:
        """What the key with this id has had today."""
        return self._usage.of(key)

    def left(self, key: Key) -> dict[str, Left]:
        """How the quotas of a key stand, by their names."""
        return self._quotas.left(key)

    def take_request(self, key: Key) -> None:
        """Count a request. Raises ``RequestError``: BUSY above the key's quota."""
        left = self._quotas.take_request(key)
        if left is not None:
            raise _above(REQUESTS, left, 1)
        self._usage.add(key.id, Used(requests=1))

    def take(self, key: Key, wanted: GenerationRequest) -> None:
        """Count the pictures of a request. Raises ``RequestError``: BUSY above the key's quotas."""
        amounts = _amounts(wanted)
        missing = self._quotas.missing(key, amounts)
        if missing is not None:
            name, left = missing
            raise _above(name, left, amounts[name])
        self._add(key, wanted, 1)

    def give_back(self, key: Key, wanted: GenerationRequest) -> None:
        """The pictures were not made, and not by the client's fault."""
        self._add(key, wanted, -1)

    @contextmanager
    def charge(self, wanted: GenerationRequest) -> Iterator[Charge]:
        """The charge for a request that will be run later. What was taken and does not stand at
        the end is given back."""
        charge = Charge(self, current.get(), wanted)
        try:
            yield charge
        finally:
            charge.settle()

    def metered(
        self,
        wanted: GenerationRequest,
        generate: Callable[[GenerationRequest], AsyncGenerator[Event, None]],
    ) -> AsyncGenerator[Event, None]:
        """The events of ``generate``, on the account of the key of this context, if there is one;
        a single ``Failed`` above its quotas."""
        key = current.get()
        return generate(wanted) if key is None else self._metered(key, wanted, generate)

    async def _metered(
        self,
        key: Key,
        wanted: GenerationRequest,
        generate: Callable[[GenerationRequest], AsyncGenerator[Event, None]],
    ) -> AsyncGenerator[Event, None]:
        try:
            self.take(key, wanted)
        except RequestError as error:
            yield Failed.from_error(error)
            return
        async with aclosing(generate(wanted)) as events:
            async for event in events:
                if isinstance(event, Failed) and event.code in _FREE:
                    self.give_back(key, wanted)
                yield event

    def _add(self, key: Key, wanted: GenerationRequest, sign: int) -> None:
        amounts = _amounts(wanted)
        used = Used(0, sign * amounts[PICTURES], sign * amounts[PIXEL_STEPS])
        self._usage.add(key.id, used)


@dataclass(slots=True)
class Charge:
    """The pictures of a request, on the account of a key.

    Attributes:
        metering: has the accounts.
        key: None where nobody pays.
        wanted: the request.
        stands: whether it is due; else it is given back.
    """

    metering: Metering
    key: Key | None
    wanted: GenerationRequest
    stands: bool = False
    _taken: bool = False

    def take(self) -> None:
        """Count the pictures. Raises ``RequestError``: BUSY above the key's quotas."""
        if self.key is not None:
            self.metering.take(self.key, self.wanted)
            self._taken = True

    def settle(self) -> None:
        """Give back what was taken and is not due."""
        if self.key is not None and self._taken and not self.stands:
            self.metering.give_back(self.key, self.wanted)


def _amounts(wanted: GenerationRequest) -> dict[str, int]:
    share = 1.0 if wanted.strength is None else wanted.strength
    steps = max(1, int(wanted.num_inference_steps * share))
    pixel_steps = wanted.num_images * wanted.width * wanted.height * steps
    return {PICTURES: wanted.num_images, PIXEL_STEPS: pixel_steps}


def _above(name: str, left: Left, needed: int) -> RequestError:
    return RequestError(
        ErrorCode.BUSY,
        f"this key may have {left.quota} {name} in {left.window} seconds; "
        f"{left.remaining} are left, and the request needs {needed}",
        retry_after=left.reset,
    )
