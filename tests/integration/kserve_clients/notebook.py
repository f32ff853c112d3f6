"""Runs a notebook: ``python notebook.py FILE PARAMETERS``, the latter a JSON object that replaces
what the cell with the tag ``parameters`` sets. Prints the types of what the cells displayed."""

from __future__ import annotations

import json
import sys

import nbformat
from nbclient import NotebookClient


def main(file: str, parameters: str) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    (place,) = (
        place
        for place, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", ())
    )
    lines = [f"{name} = {value!r}" for name, value in json.loads(parameters).items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    shown = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "display_data"
        for kind in output.data
    ]
    print(json.dumps(shown))


main(*sys.argv[1:])
