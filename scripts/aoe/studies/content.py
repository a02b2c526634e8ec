"""The text of study files: ``extends``, hints for studies that are not there, and labels on one line."""

import difflib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aoe import AoeError
from aoe.files.configuration import read_yaml
from aoe.files.schema import of_another_type

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def read_content(name: str, path: Path, extending: tuple[str, ...] = ()) -> Any:
    """Read the study file ``path``; where it ``extends`` another study, that one's keys and, instead, its own.

    extending: names of the studies that extend this one.  Returns whatever the file holds, if it is no mapping.  Raises
    AoeError if a study is not there, is no YAML, or extends itself.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise AoeError(f"There is no study {name!r} in {path.parent}; there are {known}.{_renamed(name, path)}")
    try:
        content = read_yaml(path)
    except OSError as error:
        raise AoeError(f"{path} cannot be read ({error.strerror}).") from error
    if content is None:
        raise AoeError(f"{path} is empty; config/README.md says what a study has.")
    if not isinstance(content, dict) or "extends" not in content:
        return content
    other = content.pop("extends")
    if not isinstance(other, str):
        raise AoeError(f"{path}: at extends: {of_another_type(other, 'string', path, ['extends'])}.")
    if Path(other).name != other:
        raise AoeError(
            f"{path}: at extends: {other!r} is no name of a study; write the name of a file beside this one."
        )
    if other in (name, *extending):
        raise AoeError(f"{path}: extends: {other} is extended by itself.")
    extended = read_content(other, path.with_name(f"{other}.yaml"), (name, *extending))
    if not isinstance(extended, dict):
        raise AoeError(f"{path}: extends: {other} is no study, as it has no keys.")
    return extended | content


def _renamed(name, path):
    """A hint for a study that is not there, because it is called by another ending or spelling."""
    stem = name.removesuffix(".yaml").removesuffix(".yml")
    if stem != name and path.with_name(f"{stem}.yaml").is_file():
        return f" Write {stem}, without the ending."
    if path.with_suffix(".yml").is_file():
        return f" Rename {name}.yml to {name}.yaml."
    close = difflib.get_close_matches(name, [file.stem for file in path.parent.glob("*.yaml")], 1)
    return f" Perhaps you mean {close[0]}." if close else ""


def join_lines(content: dict[str, Any], path: Path) -> None:
    """Put the title and all labels on one line.  Raises AoeError if one has a character that no page can show."""
    shown = [("title", content, "title")]
    for kind in ("models", "variants"):
        shown += [(f"{kind}.{name}.label", entry, "label") for name, entry in content.get(kind, {}).items()]
    for place, entry, key in shown:
        if key not in entry:
            continue
        try:  # JSON writes what is beyond the basic plane as two halves
            whole = entry[key].encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise AoeError(f"{path}: at {place}: half a character (a lone surrogate) cannot be shown.") from error
        entry[key] = " ".join(whole.split())
        for character in entry[key]:
            if unicodedata.category(character) == "Cc":
                raise AoeError(
                    f"{path}: at {place}: the control character U+{ord(character):04X} cannot be shown; leave it out."
                )


def in_file(
    path: Path, function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Return what a function returns; an AoeError that it raises then begins with the study file."""
    try:
        return function(*arguments, **options)
    except AoeError as error:
        raise AoeError(f"{path}: {error}") from error
