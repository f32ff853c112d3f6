"""A service with keys, and a page beside it that acts with one of them."""

from __future__ import annotations

from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

from api.keys.__main__ import main
from models.lora import LORA_FILE
from tests.e2e.ui.process import PageProcess, page
from tests.integration.server import Server, serving
from tests.loras import save_lora

# A LoRA that stands for a subject.
TUNED, TOKEN = "clay", "unqtkn"
# Of a picture; 512 x 512 is one.
MAX_PIXELS = 300_000


class House:
    """Both, started; they can be stopped and started again. A base with its refiner is served, and
    ``TUNED``.

    To visitors of the page it is one without keys: they enter none, and each sees what his own
    browser has made.

    Args:
        folder: for all that they keep.

    Attributes:
        service: the service.
        page: the page.
        page_key: the one that the page acts with.
    """

    service: Server
    page: PageProcess

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = folder / "keys.json"
        self.page_key = self.key("page")
        self._stack = ExitStack()
        self._port: int | None = None
        self.start()
        file = save_lora(folder / "lora") / LORA_FILE
        words = ("--lora", str(file), "--base", "embedded", "--token", TOKEN)
        self.service.models("register", TUNED, *words)

    def start(self) -> None:
        """Start them, and wait until both are there. The page keeps its address."""
        home = self._folder / "bentoml"
        service = serving(
            self._folder,
            host="local",
            home=home if home.exists() else None,
            SD_MODELS="embedded,embedded-xl,embedded-xl-refiner",
            SD_API_KEYS_FILE=str(self._keys),
            SD_METRICS_FROM="127.0.0.1",
            SD_MAX_PIXELS=str(MAX_PIXELS),
        )
        self.service = self._stack.enter_context(service)
        process = page(self.service.url, self._folder, self._port, "--key", self.page_key)
        self.page = self._stack.enter_context(process)
        self._port = self.page.port

    def stop(self) -> None:
        """Stop both."""
        self._stack.close()

    def key(self, name: str) -> str:
        """A new key for the service."""
        return self._keys_command("create", name)

    def revoke(self, name: str) -> None:
        """Revoke the key of that name."""
        self._keys_command("revoke", name)

    def _keys_command(self, command: str, name: str) -> str:
        with redirect_stdout(StringIO()) as printed:
            assert main([command, name, "--file", str(self._keys)]) == 0
        return printed.getvalue().strip()
