"""Wildcard files: what is read, and what stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import ErrorCode, RequestError
from templating.wildcards import MAX_VALUES, NO_WILDCARDS, UnusableWildcards, Wildcards


def write(folder: Path, **files: str) -> Path:
    """Files by name; ``__`` is a slash, and the last ``_`` the dot."""
    for name, text in files.items():
        stem, _, suffix = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_text_and_yaml_are_read(tmp_path: Path) -> None:
    wildcards = Wildcards.load(
        write(
            tmp_path,
            colour_txt="# a remark\nred\n\n  grün \nred\n",
            animals__cats_txt="tabby\n",
            animals__more_yaml="dogs:\n  big: [husky, {text: boxer, weight: 3}]\n  small: corgi\n",
            readme_md="not read",
        )
    )
    assert wildcards.get("colour").string_values == ["red", "grün"]
    assert wildcards.get("animals/cats").string_values == ["tabby"]
    assert wildcards.get("animals/dogs/big").string_values == ["husky", "boxer"]
    assert wildcards.get("animals/dogs/big").cum_weight_values == [1, 4]
    assert wildcards.get("animals/dogs/small").string_values == ["corgi"]


@pytest.mark.parametrize("name", ["hue", "../colour", "/etc/passwd", "*", "colour.txt", "", "é"])
def test_a_name_is_only_looked_up(tmp_path: Path, name: str) -> None:
    wildcards = Wildcards.load(write(tmp_path, colour_txt="red", animals__cats_txt="tabby"))
    with pytest.raises(RequestError) as refused:
        wildcards.get(name)
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "prompt")
    assert refused.value.message == (
        f"prompt names the wildcard {name!a}; there are animals/cats, colour"
    )


def test_without_a_folder_there_are_none() -> None:
    with pytest.raises(RequestError, match="names the wildcard 'colour'; there are none here"):
        NO_WILDCARDS.get("colour")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"has no \.txt or \.yaml file"),
        ({"colour_txt": "# nothing\n"}, "1 to 10000 values, colour has 0"),
        (
            {"n_txt": "\n".join(map(str, range(MAX_VALUES + 1)))},
            "1 to 10000 values, n has 10001",
        ),
        ({"a_yaml": "b: [c"}, r"a\.yaml cannot be read"),
        ({"colour_txt": "red", "a_yaml": "colour: [blue]"}, "wildcard colour is there twice"),
        ({"colour_txt": "{red|green"}, "colour: '{red|green': .* cannot be read"),
        ({"colour_txt": "a __hue__"}, "colour: 'a __hue__' names the wildcard hue, which is not"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UnusableWildcards, match=sentence):
        Wildcards.load(write(tmp_path, **files))


def test_other_encodings_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "colour.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(UnusableWildcards, match=r"colour\.txt cannot be read: 'utf-8' codec"):
        Wildcards.load(tmp_path)
    with pytest.raises(UnusableWildcards, match="is no folder"):
        Wildcards.load(tmp_path / "colour.txt")
