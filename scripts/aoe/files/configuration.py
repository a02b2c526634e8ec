"""YAML files that people write, read strictly: what YAML would silently drop or turn into something else is refused.

PyYAML keeps the last of two equal keys, reads ``010`` as 8 and ``1:30`` as 90, and follows aliases that stand for
billions of nodes.  A study, a configuration or a list of claims that holds such things does not mean what it says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from aoe import AoeError

MOST_NODES = 1_000_000  # keys and values of a file, those that aliases stand for included
OCTAL = re.compile(r"[-+]?0[0-7_]*[0-7][0-7_]*")
MERGE = "tag:yaml.org,2002:merge"


class _RefusedError(Exception):
    """What is valid YAML for PyYAML, and is refused here all the same."""

    def __init__(self, node: yaml.Node, sentence: str) -> None:
        super().__init__(f", line {node.start_mark.line + 1}: {sentence}.")


class _AmbiguousError(_RefusedError):
    """A number that YAML reads in another base than people do."""

    def __init__(self, node: yaml.ScalarNode, meaning: str, advice: str) -> None:
        text = node.value
        super().__init__(
            node, f"YAML reads {text} as {meaning}; {advice}, or put it in quotes, {text!r}, if it is text"
        )


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, without keys given twice, octal and sexagesimal numbers, and aliases without end."""

    def get_single_node(self):
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        lines = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = "<<" if key.tag == MERGE else self.construct_object(key)
            if name in lines:
                first = lines[name]
                raise _RefusedError(
                    key, f"the key {key.value!r} is given twice, first in line {first}; keep one of them"
                )
            lines[name] = key.start_mark.line + 1
        return node

    def construct_yaml_int(self, node):
        value = super().construct_yaml_int(node)
        if OCTAL.fullmatch(node.value) and int(node.value, 10) != value:
            raise _AmbiguousError(node, f"the octal number {value}", "write it without the leading 0")
        return self._decimal(node, value)

    def construct_yaml_float(self, node):
        return self._decimal(node, super().construct_yaml_float(node))

    def _decimal(self, node, value):
        if ":" in node.value:
            raise _AmbiguousError(node, f"{value}, a number to the base 60", f"write {value}")
        return value


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)


def _count(node, known):
    """The keys and values of a node and of all below it.  Raises _RefusedError for too many, or an
    endless alias.

    known: id of a node -> its count, or None while it is being counted.
    """
    if id(node) in known:
        if known[id(node)] is None:
            raise _RefusedError(node, "an alias stands for what it is a part of")
        return known[id(node)]
    known[id(node)], total = None, 1
    if not isinstance(node, yaml.ScalarNode):
        for child in node.value:
            parts = child if isinstance(child, tuple) else (child,)
            total += sum(_count(part, known) for part in parts)
    if total > MOST_NODES:
        raise _RefusedError(node, f"aliases make more than {MOST_NODES:,} keys and values of it")
    known[id(node)] = total
    return total


def read_yaml(path: Path | str) -> Any:
    """Return the content of a YAML file; None if it is empty.

    Raises AoeError, with the file and the line, if it is no YAML in UTF-8, gives a key twice, has octal or sexagesimal
    numbers, or has aliases without end.  Raises OSError if it cannot be read.
    """
    try:
        return yaml.load(_text(path), Loader=_StrictLoader)
    except _RefusedError as error:
        raise AoeError(f"{path}{error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise AoeError(f"{path}{line} is not valid YAML: {problem}.") from error
    except UnicodeDecodeError as error:
        raise AoeError(f"{path} is not valid YAML: it is no text in UTF-8 ({error}); save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, OverflowError, AttributeError) as error:
        raise AoeError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise AoeError(f"{path} is not valid YAML: it is nested too deeply.") from error


def _text(path):
    return Path(path).read_text(encoding="utf-8")


def as_written(path: Path | str, place: Sequence[str | int], key: bool = False) -> tuple[str | None, int | None]:
    """Return (text, line) of the value at a ``place`` of a YAML file, or of the key itself, as they stand in the file.

    place: keys and list positions from the top level down.  (None, None) if the file does not have the place itself.
    """
    try:
        text = _text(path)
        nodes = _find(yaml.compose(text, Loader=yaml.SafeLoader), list(place))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        nodes = None
    if not nodes or not nodes[not key]:
        return None, None
    node = nodes[not key]
    begin, end = node.start_mark, node.end_mark
    return text[begin.index : end.index] if isinstance(node, yaml.ScalarNode) else None, begin.line + 1


def _find(node, place):
    """(key node, value node) at a place below a node, or None; what a merge key (``<<``) brings counts, too."""
    found = None, node
    for position, part in enumerate(place):
        if isinstance(node, yaml.SequenceNode):
            if not isinstance(part, int) or part >= len(node.value):
                return None
            found = None, node.value[part]
        elif isinstance(node, yaml.MappingNode):
            own = [pair for pair in node.value if _is_key(pair[0], part)]
            if not own:
                merged = [value for key, value in node.value if key.tag == MERGE]
                merged = [one for value in merged for one in (value.value if value.tag.endswith("seq") else [value])]
                there = (_find(other, place[position:]) for other in merged)
                return next(filter(None, there), None)
            found = own[0]
        else:
            return None
        node = found[1]
    return found


def _is_key(node, name):
    """Whether a key's node stands for a name, be it one that YAML makes a number, a date or the like."""
    if not isinstance(node, yaml.ScalarNode):
        return False
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node) == name
    except (yaml.YAMLError, ValueError):
        return False
    finally:
        loader.dispose()


def text_options(config: Mapping[str, Any], entries: Iterable[str], schema: Mapping[str, Any]) -> dict[str, str]:
    """Return {key: text as written} of the command line's options that are text and were read as something else.

    config: what was made of them, ``study=0528`` to the number 528; entries: ``key=value`` as written, of which
    the last one of a key holds; schema: the configuration's, which says what is text.
    """
    written = dict(entry.partition("=")[::2] for entry in entries)
    return {
        key: written[key]
        for key, value in config.items()
        if key in written and not isinstance(value, str) and schema["properties"].get(key, {}).get("type") == "string"
    }
