"""Reads what a server measures, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def read(
    url: str, timeout: float = 30.0, headers: Mapping[str, str] = NO_HEADERS
) -> Iterator[Sample]:
    """The samples of all series.

    Args:
        url: of http or https.
        timeout: seconds that each part of the response may take.

    Raises:
        OSError: it is not there, or answers with an error.
        ValueError: what it answers is in another format.
    """
    request = Request(url, headers=dict(headers))  # noqa: S310
    with urlopen(request, timeout=timeout) as answer:  # noqa: S310
        text = answer.read().decode("utf-8")
    for family in text_string_to_metric_families(text):
        yield from family.samples
