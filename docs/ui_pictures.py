"""The pictures of the page in docs/images, made of the page as it is: ``python -m docs.ui_pictures``.

Needs Chromium, ``.venv`` and ``.venv-ui``. It starts a service with the embedded model, its fine-tuned one
and a page of its own, and drives them as the tests do.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from tests.e2e.browser import started
from tests.e2e.ui.house import House
from tests.e2e.ui.process import page
from tests.e2e.ui.visitor import Visitor, visitor
from tests.integration.server import wait_until

IMAGES: Final = Path(__file__).parent / "images"
MOST_BYTES: Final = 300_000
WIDE, NARROW = (1360, 900), (390, 844)
PROMPT: Final = "a red apple on a blue background"
