"""The digest of what a rule's script executes: which edits change it, and which do not."""

from pathlib import Path

import pytest
from launcher.code.closure import Library

FILES = {
    "work.py": """
        '''A rule's script.'''
        from lib.sums import total
        from lib import names

        print(total([1, 2]), names.GREETING)
        """,
    "lib/__init__.py": "'''A library.'''\n",
    "lib/names.py": "GREETING = 'hello'\nFAREWELL = 'bye'\n",
    "lib/sums.py": """
        from lib.parts import half, unused

        def total(values, *, factor=2):
            '''Add up.'''
            result = 0
            for value in values:
                if value < 0:
                    raise ValueError(f"{value} is negative.")
                result += half(value) * factor
            return [result + part for part in values]
        """,
    "lib/parts.py": """
        STEP = 2

        def half(value):
            return value / STEP

        def unused(value):
            return value - STEP
        """,
    "lib/server.py": "import json\n\ndef main():\n    print(json.dumps(1))\n\nmain()\n",
}


@pytest.fixture
def library(tmp_path):
    """A function that writes the library, some texts in it replaced, and returns the Code of work.py."""

    def code(*edits, renamed=None, **files):
        every = {**FILES, **{name.replace("__", "/", 1) + ".py": text for name, text in files.items()}}
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in every.items():
            name = (renamed or {}).get(name, name)
            lines = text.strip("\n").splitlines()
            indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
            text = "\n".join(line[indent:] for line in lines) + "\n"
            for old, new in edits:
                text = text.replace(old, new)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return Library(folder).code_of(folder / "work.py")

    return code


SAME = {
    "a comment": [("return value / STEP", "return value / STEP  # the half")],
    "a docstring": [("Add up.", "Add up all values."), ("A library.", "Our library.")],
    "a new docstring": [("    return value / STEP", "    '''Halve.'''\n    return value / STEP")],
    "formatting": [("return value / STEP", "return (\n        value\n        / STEP\n    )"), ("'hello'", '"hello"')],
    "types": [
        ("def half(value):", "def half(value: float) -> float:"),
        ("STEP = 2", "STEP: int = 2"),
        ("result = 0", "result: float = 0"),
    ],
    "imports for a type checker": [
        ("STEP = 2", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lib.server\nSTEP = 2")
    ],
    "a local variable": [("result", "outcome"), ("part for part", "p for p"), ("+ part", "+ p")],
    "a function": [("half", "in_two"), ("total", "added")],
    "a constant": [("STEP", "WIDTH"), ("GREETING", "WORD")],
    "a function that is not reached": [("value - STEP", "value + STEP")],
    "a constant that is not reached": [("'bye'", "'farewell'")],
    "the order of imports": [
        ("from lib.sums import total\nfrom lib import names", "from lib import names\nfrom lib.sums import total")
    ],
    "how it is imported": [("from lib import names", "import lib.names as words"), ("names.GREET", "words.GREET")],
    "the order of functions": [("def unused(value):\n    return value - STEP\n", ""), ("STEP = 2", "STEP = 2\n")],
}

OTHER = {
    "a constant": [("STEP = 2", "STEP = 3")],
    "a text": [("'hello'", "'good day'")],
    "the sentence of an error": [("is negative", "is below zero")],
    "a function that is reached": [("value / STEP", "value // STEP")],
    "a call": [("half(value) * factor", "unused(value) * factor")],
    "a default": [("factor=2", "factor=3")],
    "a keyword": [("factor", "scale")],
    "the script": [("total([1, 2])", "total([2, 1])")],
    "another variable": [("return [result + part", "return [part + part")],
    "another name of a module": [("names.GREETING", "names.FAREWELL")],
    "a decorator": [("def half", "import functools\n@functools.cache\ndef half")],
    "what an import does": [("import json", "print(1)"), ("STEP = 2", "STEP = 2\nimport lib.server")],
}


@pytest.mark.parametrize("edit", SAME)
def test_what_does_not_change_the_digest(library, edit):
    assert library(*SAME[edit]).digest == library().digest


@pytest.mark.parametrize("edit", OTHER)
def test_what_changes_the_digest(library, edit):
    assert library(*OTHER[edit]).digest != library().digest


def test_a_module_can_be_renamed(library):
    renamed = library(("lib.parts", "lib.pieces"), renamed={"lib/parts.py": "lib/pieces.py"})
    assert renamed.digest == library().digest
    assert {"lib.pieces.half"} == {name for name in renamed.definitions if name.endswith(".half")}


def test_a_function_can_be_moved_to_another_module(library):
    imports = "from lib.parts import unused\nfrom lib.halves import half"
    half = "def half(value):\n            return value / STEP\n"
    moved = library(
        ("from lib.parts import half, unused", imports),
        lib__halves="from lib.parts import STEP\n\ndef half(value):\n    return value / STEP\n",
        lib__parts=FILES["lib/parts.py"].replace(half, ""),
    )
    assert moved.digest == library().digest and "lib.halves.half" in moved.definitions


@pytest.mark.parametrize("text", ["lib.server", "lib.server.main"])
def test_a_module_that_another_process_runs_counts(library, text):
    starts = [("GREETING = 'hello'", f"GREETING = ['python', '-m', '{text}']")]
    assert library(*starts).digest != library().digest
    assert library(*starts, ("dumps(1)", "dumps(2)")).digest != library(*starts).digest
    assert library(("dumps(1)", "dumps(2)")).digest == library().digest


def test_a_sentence_and_a_file_are_no_modules(library):
    texts = [("'hello'", "'lib.server has no title'"), ("'bye'", "'lib.csv'")]
    assert library(*texts, ("dumps(1)", "dumps(2)")).digest == library(*texts).digest


def test_an_import_in_a_function_counts_once_the_function_is_reached(library):
    here = ("return value / STEP", "from lib import server\n    return value / server.main()")
    assert library(here, ("dumps(1)", "dumps(2)")).digest != library(here).digest
    there = ("return value - STEP", "from lib import server\n    return value / server.main()")
    assert library(there, ("dumps(1)", "dumps(2)")).digest == library().digest


def test_one_name_for_several_modules_counts_as_all_of_them(library):
    choice = """
        def choose(first):
            if first:
                from lib.kinds import one as module
            else:
                from lib.kinds import two as module
            return module.run()
        """
    files = {"lib__kinds/__init__": choice, "lib__kinds/one": "def run():\n    return 1\n"}
    files |= {"lib__kinds/two": "def run():\n    return 22\n"}
    use = ("'hello'", "__import__('x')"), ("STEP = 2", "from lib.kinds import choose\nSTEP = choose(2)")
    assert library(*use, ("return 22", "return 23"), **files).digest != library(*use, **files).digest


@pytest.mark.parametrize("how", ["return FIGURES", "return getattr(names, 'GREETING')"])
def test_a_package_that_lists_its_modules_counts_whole(library, how):
    registry = f"""
        import pkgutil
        from importlib import import_module
        FIGURES = {{}}

        def find():
            from lib import names
            for found in pkgutil.iter_modules(__path__):
                FIGURES[found.name] = import_module(f"{{__name__}}.{{found.name}}")
            {how}
        """
    files = {"lib__figures/__init__": registry, "lib__figures/one": "from lib.server import main\nTITLE = 'one'\n"}
    use = [("STEP = 2", "from lib.figures import find\nSTEP = len(find())")]
    before = library(*use, **files)
    assert library(*use, ("'one'", "'first'"), **files).digest != before.digest
    assert library(*use, ("dumps(1)", "dumps(2)"), **files).digest != before.digest
    assert library(*use, **files, **{"lib__figures/two": "TITLE = 'two'\n"}).digest != before.digest
    whole = "getattr" in how
    assert (library(*use, ("'bye'", "'farewell'"), **files).digest != before.digest) == whole


def test_a_class_counts_whole(library):
    text = "class Half:\n    step = 2\n    def of(self, value):\n        return value / self.step\n"
    text += "    def never(self):\n        return 1\n\ndef half(value):\n    return Half().of(value)\n"
    text += "def unused(value):\n    pass\n"
    before = library(lib__parts=text)
    assert library(("return 1", "return 2"), lib__parts=text).digest != before.digest
    assert library((".of(", ".at("), ("def of(", "def at("), lib__parts=text).digest != before.digest
    assert library(("Half", "InTwo"), lib__parts=text).digest == before.digest


@pytest.mark.parametrize("base, same", [("", True), ("(BaseModel)", False)])
def test_types_of_fields_count_where_they_may_be_read(library, base, same):
    text = f"from pydantic import BaseModel\nclass Half{base}:\n    step: int = 2\n"
    text += "def half(value):\n    return value / Half().step\ndef unused(value):\n    pass\n"
    assert (library(("step: int", "step: float"), lib__parts=text).digest == library(lib__parts=text).digest) == same


def test_functions_that_call_each_other_are_told_apart(library):
    text = "def half(value):\n    return other(value, 1) if value else 0\n\n"
    text += "def other(value, by):\n    return half(value - by) + third(by)\n\n"
    text += "def third(by):\n    return other(by, 2) or half(by)\n\ndef unused(value):\n    pass\n"
    before = library(lib__parts=text)
    assert library(("third", "last"), lib__parts=text).digest == before.digest
    assert library(("+ third(by)", "+ half(by)"), lib__parts=text).digest != before.digest
    assert library(("other(by, 2) or half(by)", "half(by, 2) or other(by)"), lib__parts=text).digest != before.digest
    assert library(("other(by, 2)", "other(by, 3)"), lib__parts=text).digest != before.digest


def test_definitions_say_where_something_changed(library):
    before, after = library().definitions, library(("STEP = 2", "STEP = 3"), ("'bye'", "'hi'")).definitions
    assert before.keys() == after.keys() and "lib.names.FAREWELL" not in before
    assert [name for name in before if before[name] != after[name]] == ["lib.parts.STEP"]


def test_the_cache_changes_nothing(tmp_path):
    root = Path(__file__).parents[3] / "scripts"
    scripts = [root / "answer.py", root / "merge.py", root / "facts.py"]
    codes = []
    for _ in range(2):
        library = Library(root, tmp_path / "cache.json")
        codes.append([library.code_of(script) for script in scripts])
        library.save()
    assert codes[0] == codes[1] and (tmp_path / "cache.json").exists()
    (tmp_path / "cache.json").write_text("[]", encoding="utf-8")
    assert Library(root, tmp_path / "cache.json").code_of(scripts[0]) == codes[0][0]


def test_what_vllm_loads_is_part_of_the_answers_code():
    root = Path(__file__).parents[3] / "scripts"
    reached = Library(root).code_of(root / "answer.py").definitions
    assert any(name.startswith("aoe.serving.vllm_loader.") for name in reached)
    assert any(name.startswith("aoe.merging.merge.") for name in reached)
    assert not any(name.startswith(("aoe.document.", "launcher.", "performance.")) for name in reached)
