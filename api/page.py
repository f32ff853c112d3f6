"""The page at ``/``: Swagger UI over the OpenAPI document, with nothing from other hosts."""

from __future__ import annotations

from html import escape

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
    <script>
      window.ui = SwaggerUIBundle({{
        url: "./docs.json",
        dom_id: "#swagger-ui",
        deepLinking: true,
        validatorUrl: null,
      }});
    </script>
  </body>
</html>
"""


def swagger(title: str, assets: str) -> str:
    """Write the page. ``assets`` is the URL prefix of swagger-ui's own files."""
    return _TEMPLATE.format(title=escape(title), assets=escape(assets))
