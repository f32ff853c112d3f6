from __future__ import annotations

import pytest

from serving import startup
from settings import Settings


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"SD_MAX_QUEUE": "none"},
            "cannot start: SD_MAX_QUEUE=none: Input should be a valid integer, "
            "unable to parse string as an integer",
        ),
        (
            {"SD_MAX_QUEUE": "2", "SD_MAX_IMAGES": "3"},
            "cannot start: max_images (3) must not exceed max_queue (2)",
        ),
    ],
)
def test_mistakes_in_the_settings_are_one_line(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended, startup.explained():
        Settings()
    assert str(ended.value) == sentence
