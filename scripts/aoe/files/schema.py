"""What a JSON schema refuses, with the words and the line of the YAML file that it stands in, and what may be meant."""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
from aoe import AoeError
from aoe.files.configuration import as_written

LARGEST = 2**63 - 1  # that a number may be
QUOTES = "\"'"  # around text in a YAML file


def with_registries(schema: Any, registries: Mapping[str, Callable[[], Any]]) -> Any:
    """Return a copy of a JSON schema in which each ``{"registry": name}`` is what the registry of that name returns.

    registries: name -> a function without arguments; it returns what stands in that place of the schema, such as the
    list of names of an ``enum``.  Raises AoeError for a registry that there is not.
    """
    if isinstance(schema, list):
        return [with_registries(item, registries) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.keys() == {"registry"} and isinstance(name := schema["registry"], str):
        if name not in registries:
            raise AoeError(f"A schema names the registry {name!r}; there are {', '.join(sorted(registries))}.")
        return registries[name]()
    return {key: with_registries(value, registries) for key, value in schema.items()}


def check_schema(content: Any, schema: Mapping[str, Any], path: Path | str) -> None:
    """Raise AoeError that names the place of the first thing a JSON schema refuses, as it is written in the file.

    Refuses, too, names that YAML makes numbers, dates, true, false or null, and numbers that are not finite.
    """
    _check_values(content, path, [])
    validator = _Validator(schema)
    for error in sorted(validator.iter_errors(content), key=lambda error: [str(part) for part in error.path]):
        _refuse(path, list(error.absolute_path), _in_words(error, path))


def _strict_integer(checker, value):
    """12.0 is an integer for JSON schema, and a float for whatever counts with it."""
    return isinstance(value, int) and not isinstance(value, bool)


def _strict_pattern(validator, pattern, value, schema):
    """Where a pattern ends with $, the text has to end, too; Python's $ lets a line break follow."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _strict_pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _strict_integer),
)


def _refuse(path, place, sentence):
    """Raises AoeError with the place in words, and the file and line that it is in."""
    file, line = _file_of(path, place), None
    if place:
        line = as_written(file, place)[1]
    told = ".".join(str(part) for part in place) or "the top level"
    raise AoeError(f"{file}: at {told}: {sentence}{f' (line {line})' if line else ''}.")


def _file_of(path, place):
    """The file that a place of a study is written in: the study's own, or that of a study which it extends."""
    seen = []
    while place and path not in seen and as_written(path, place[:1]) == (None, None):
        seen.append(path)
        other, _ = as_written(path, ["extends"])
        if other is None:
            return seen[0]
        path = Path(path).with_name(f"{other.strip(QUOTES)}.yaml")
    return path


def _check_values(value, path, place):
    """Raises AoeError for names that are no text, and for numbers without a finite value of 64 bits.

    What an option of vLLM holds has keys as vLLM wants them.
    """
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str) and "options" not in place[:-1]:
                text = as_written(_file_of(path, [*place, key]), [*place, key], key=True)[0] or str(key)
                _refuse(path, place, f"YAML reads the name {text} as {_kind(key, text)}; put it in quotes, '{text}'")
            _check_values(entry, path, [*place, key])
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            _check_values(entry, path, [*place, position])
    elif isinstance(value, float) and not math.isfinite(value):
        _refuse(path, place, f"{value} is not a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST:
        _refuse(path, place, f"{value} is too large, a number has 64 bits")


def _in_words(error, path):
    """What JSON schema says of an error, with what is written in the file, and what may be meant."""
    place = list(error.absolute_path)
    if error.validator in ("oneOf", "anyOf") and (better := jsonschema.exceptions.best_match([error])) is not error:
        return better.message
    if error.validator == "type" and isinstance(error.validator_value, str):
        return of_another_type(error.instance, error.validator_value, _file_of(path, place), place)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        strange = [key for key in error.instance if key not in known]
        close = difflib.get_close_matches(str(strange[0]), known, 1, 0.7) if strange else []
        return error.message + (f"; perhaps you mean {close[0]!r}" if close else f"; known are {', '.join(known)}")
    if error.validator == "pattern" and "description" in error.schema:
        return f"{error.message}: {error.schema['description'].rstrip('.')}"
    if error.validator == "required" and isinstance(error.instance, dict):
        known, missing = (
            error.schema.get("properties", {}),
            [key for key in error.validator_value if key not in error.instance],
        )
        close = [key for key in error.instance if key not in known and difflib.get_close_matches(str(key), missing, 1)]
        return error.message + (f"; perhaps you mean it by {close[0]!r}" if close else "")
    if error.validator == "enum" and isinstance(error.instance, str):
        close = difflib.get_close_matches(error.instance, [one for one in error.validator_value if one], 1)
        return error.message + (f"; perhaps you mean {close[0]!r}" if close else "")
    return error.message


def of_another_type(value: Any, wanted: str, file: Path | str, place: Sequence[str | int]) -> str:
    """Say why a value is not of the type ``wanted`` (as JSON schema calls it), and what to write."""
    text, _ = as_written(file, place)
    message = f"{value!r} is not of type {wanted!r}"
    if value is None:
        return f"{message}: there is no value; write one, or leave the key out"
    if wanted == "string" and isinstance(value, (bool, int, float, date)) and text:
        return f"YAML reads {text} as {_kind(value, text)}, not as text; put it in quotes, '{text}'"
    if wanted in ("number", "integer") and isinstance(value, (str, float)):
        try:
            number = float(value)
        except ValueError:
            return message
        if not math.isfinite(number) or (wanted == "integer" and not number.is_integer()):
            return message
        return f"{message}: write {int(number) if number.is_integer() else number}"
    return message


def _kind(value, text):
    """What YAML has made of a text, in words."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        ((int, float), "number"),
        (date, "date"),
        (type(None), "nothing"),
    ]
    kind = next((words for types, words in kinds if isinstance(value, types)), "something else than text")
    if kind not in ("number", "date"):
        return kind
    return f"a {kind}" if str(value) == text else f"the {kind} {value}"
