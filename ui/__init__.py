"""The page: pictures made, refined and kept in the browser, over the public HTTP API."""
