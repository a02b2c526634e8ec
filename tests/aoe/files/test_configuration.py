"""YAML files that people write mean what they say, or are refused with file and line."""

import pytest
from aoe import AoeError
from aoe.files.configuration import as_written, read_yaml, text_options
from support.clones import ROOT

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.yaml"


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is given twice, first in line 1"),
        ("a: {x: 1, y: {z: 1, z: 2}}\n", 1, "the key 'z' is given twice"),
        ("- {x: 1, 'x': 2}\n", 1, "the key 'x' is given twice"),
        ("1: a\n0x1: b\n", 2, "the key '0x1' is given twice"),
        ("yes: a\ntrue: b\n", 2, "the key 'true' is given twice"),
        ("? a\n: 1\n? a\n: 2\n", 3, "the key 'a' is given twice"),
        ("a: &q {x: 1}\nb:\n  <<: *q\n  y: 1\n  <<: *q\n", 5, "the key '<<' is given twice"),
        ("a: &q {x: 1, x: 2}\nb: {<<: *q}\n", 1, "the key 'x' is given twice"),
        ("a: 010\n", 1, "YAML reads 010 as the octal number 8"),
        ("0527: a\n", 1, "YAML reads 0527 as the octal number 343"),
        ("\na: 1:30\n", 2, "YAML reads 1:30 as 90, a number to the base 60"),
        ("a: 1:30.5\n", 1, "YAML reads 1:30.5 as 90.5, a number to the base 60"),
        ("a: &x [*x]\n", 1, "an alias stands for what it is a part of"),
        (BOMB, 7, "aliases make more than 1,000,000 keys and values"),
        ("a: 1\n---\nb: 2\n", 2, "is not valid YAML: expected a single document"),
        ("a:\n\tb: 1\n", 2, "is not valid YAML: while scanning"),
        ("[a]: b\n", 1, "is not valid YAML: while constructing a mapping found unhashable key"),
        ("a: !!python/object:os.system x\n", 1, "is not valid YAML: could not determine a constructor"),
    ],
)
def test_what_yaml_would_drop_or_change_is_refused_with_its_line(path, text, line, sentence):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AoeError, match=r"test\.yaml") as told:
        read_yaml(path)
    assert f"{path}, line {line}" in str(told.value) and sentence in str(told.value)


@pytest.mark.parametrize(
    "content",
    [
        "a: 1".encode("utf-16"),
        b"\xff",
        b"a: " + b"[" * 5000,
        b"a: 2025-13-45",
        b"a: \x07",
        b"a: !!int x",
        b"a: !!timestamp x",
    ],
)
def test_what_is_no_yaml_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(AoeError, match=r"test\.yaml is not valid YAML: ") as told:
        read_yaml(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("# nothing\n", None),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: &q {x: 1}\nb: &r {<<: *q, x: 2}\nc: {<<: *r}\nd: {<<: [*r, *q], y: 3}\n", None),
        ("{a: 01, b: 00, c: 08, d: 1_000, e: 0x10, f: 0528, g: 0.5}", None),
        ("a: 1\nA: 2\n", {"a": 1, "A": 2}),
        ("a: {x: 1}\nb: {x: 1}\n", {"a": {"x": 1}, "b": {"x": 1}}),
    ],
)
def test_everything_else_is_read_as_pyyaml_reads_it(path, text, content):
    import yaml

    path.write_text(text, encoding="utf-8", newline="")
    assert read_yaml(path) == yaml.safe_load(text) == (content or yaml.safe_load(text))


def test_every_yaml_file_of_the_configuration_is_read_as_pyyaml_reads_it():
    import yaml

    files = sorted((ROOT / "config").rglob("*.yaml")) + sorted((ROOT / "profiles").rglob("*.yaml"))
    assert len(files) > 8
    for file in files:
        assert read_yaml(file) == yaml.safe_load(file.read_text(encoding="utf-8")), file


def test_a_place_is_found_as_it_is_written(path):
    path.write_text("a: &q {no: 0x1F, 2025-01-20: ~, z:\n}\nb: {<<: *q, l: [1, 1e-1]}\n", encoding="utf-8")
    content = read_yaml(path)
    (no, day, _), written = content["a"], [as_written(path, ["a", key], key=True) for key in content["a"]]
    assert (no, written) == (False, [("no", 1), ("2025-01-20", 1), ("z", 1)])
    assert as_written(path, ["b", day]) == ("~", 1)
    assert as_written(path, ["b", "l", 1]) == ("1e-1", 3)
    assert as_written(path, ["b", "c"]) == as_written(path, ["b", "l", 7]) == (None, None)
    assert as_written(path.with_name("none.yaml"), ["b"]) == (None, None)


def test_text_on_the_command_line_is_what_was_written():
    schema = {
        "properties": {"study": {"type": "string"}, "downloads": {"type": "integer"}, "agent": {"type": "string"}}
    }
    config = {"study": 528, "downloads": 8, "agent": "us", "inputs": 1}
    entries = ["study=1", "downloads=8", "agent='us'", "study=0528"]
    assert text_options(config, entries, schema) == {"study": "0528"}
    assert text_options({"study": None}, ["study="], schema) == {"study": ""}
    assert text_options({"study": 5}, [], schema) == {}
