"""The page at ``/``: Swagger UI over the OpenAPI document, with nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

# Where it is, and what it loads.
PATHS: Final = frozenset({"/", "/docs.json"})
ASSETS: Final = "/static_content"

# The page's own script. Swagger UI's styles are set by its script, which needs no permission.
_SCRIPT: Final = """
      window.ui = SwaggerUIBundle({
        url: "./docs.json",
        dom_id: "#swagger-ui",
        deepLinking: true,
        validatorUrl: null,
      });
    """

_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{title}</title>
    <link rel="stylesheet" href="{assets}/swagger-ui.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="{assets}/swagger-ui-bundle.js" charset="utf-8"></script>
    <script>{script}</script>
  </body>
</html>
"""


def swagger(title: str, assets: str) -> str:
    """Write the page. ``assets`` is the URL prefix of swagger-ui's own files."""
    return _TEMPLATE.format(title=escape(title), assets=escape(assets), script=_SCRIPT)


def _hash(script: str) -> str:
    """A script as the policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


# What the page may load: its own files, the document, and the pictures that come.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' '{_hash(_SCRIPT)}'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
