"""The documentation: every key is there, every example is valid, whatever it names exists, and what it says is done."""

import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import yaml
from transformers import DeepseekV3Config
from aoe import norms
from aoe.audit.comparison import Tolerance
from aoe.files.tables import read_table
from aoe.serving.sampling import DEEPSEEK, SMALL
from aoe.studies.study import check_schema, read_study
from benchmarks import registry
from benchmarks.judging import Judge
from benchmarks.registry import Benchmark, Compared
from benchmarks.sandbox import Limits
from documentation.pages import MARKED
from launcher.schemas import read_schema
from mini_family import training
from mini_family.language import Style
from support.clones import ROOT, Clone
from support.scripted import Reply, Scripted

CONFIG = ROOT / "config/README.md"
README = ROOT / "README.md"
MAP = ROOT / "docs/README.md"
HOW_TO = sorted((ROOT / "docs/how-to").glob("*.md"))
DOCS = sorted((ROOT / "docs").rglob("*.md"))
GENERATED = {ROOT / "docs/benchmarks.md", ROOT / "docs/gpu.md"}
PAGES = [README, ROOT / "CONTRIBUTING.md", CONFIG, *(page for page in DOCS if page not in GENERATED)]
MOST_WORDS = 2000  # of the README, as `wc -w` counts
SCHEMAS = {name: read_schema(name) for name in ("config", "study", "lock")}
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"))
FAMILY = yaml.safe_load((ROOT / "config/mini_family.yaml").read_text(encoding="utf-8"))
# $defs of the study's schema -> the sections that describe them
DEFINED_IN = {"subset": "variants", "benchmark": "benchmarks"}
# what stands in tables that come from registries
GENERATED_TABLES = "".join(found[3] for found in MARKED.finditer(CONFIG.read_text(encoding="utf-8")))
COLUMNS = ["key", "type, unit", "default", "meaning"]
# what readers make while they follow a page
MADE = {
    "config/studies/whatisit.yaml",
    "config/studies/whatisit.lock.json",
    "config/studies/mine.yaml",
    "config/studies/mine.lock.json",
    "config/studies/quiz.yaml",
    "config/studies/quiz.lock.json",
    "config/studies/olmoe.yaml",
    "config/studies/olmoe.lock.json",
    "config/studies/theirs.yaml",
    "config/studies/theirs.lock.json",
    "config/studies/NAME.lock.json",
    "scripts/aoe/checkpoints/architectures/olmoe.py",
    "tests/aoe/checkpoints/architectures/test_olmoe.py",
    "scripts/aoe/document/figures/figure12.py",
    "tests/aoe/document/figures/test_figure12.py",
    "resources/quiz",
    "resources/quiz/quiz.jsonl",
    "scripts/benchmarks/suite/quiz.py",
    "tiny.py",
}


# the pages, taken apart


def sections(page):
    """{heading: the text below it} of a page, code left out when headings are looked for."""
    found, heading, code = {}, "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        code ^= line.lstrip().startswith("```")
        if not code and line.startswith("#"):
            heading = line.lstrip("# ").strip()
        found.setdefault(heading, []).append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def section_of(page, heading):
    """The text of a page below a heading."""
    return sections(page)[heading]


def section(name):
    """The text of config/README.md below the heading that names a key, or says something."""
    for heading, text in sections(CONFIG).items():
        if heading == name or name in spans(heading):
            return text
    raise AssertionError(f"config/README.md has no section on {name}")


def spans(text):
    """What stands in backticks."""
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", text)


def words(text):
    """The words in backticks: `{variant}.threshold.delta` and `{delta, space}` have `delta`."""
    return {word for span in spans(text) for word in re.findall(r"[\w@+-]+", span)}


def rows(text):
    """The rows of all tables of keys in a text: {key: cells}; several keys can share a row."""
    found, keys = {}, False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            keys = False
        elif cells == COLUMNS:
            keys = True
        elif keys and not set(line) <= set("|-"):
            for span in spans(cells[0]):
                found.setdefault(re.sub(r"^.*[.…]", "", span), []).append(cells)
    return found


def blocks(page, language):
    """The code blocks of a page in a language, without their indentation."""
    fenced = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, found, code in fenced if found == language]


def files():
    """The repository's files and folders, without what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    found = {Path(name) for name in listing.split("\0") if name and (ROOT / name).exists()}
    return found | {parent for path in found for parent in path.parents}


# every key is documented


def properties(schema, place=()):
    """(place, key, its schema, whether it is required) of every key of a schema, without following references."""
    for key, inner in schema.get("properties", {}).items():
        if inner is not False:
            yield place, key, inner, key in schema.get("required", [])
            yield from properties(inner, (*place, key))
    for name in ("additionalProperties", "items"):
        if isinstance(schema.get(name), dict):
            yield from properties(schema[name], place)
    for name, inner in schema.get("$defs", {}).items():
        yield from properties(inner, (f"$defs/{name}",))


def documented_in(name, place, key):
    """The heading under which a key of a schema is to be found."""
    if name != "study":
        return {"config": "config.yaml", "lock": "The lock"}[name]
    top = (place or (key,))[0]
    return DEFINED_IN[top.removeprefix("$defs/")] if top.startswith("$defs/") else top


KEYS = [
    pytest.param(documented_in(name, place, key), key, inner, required, id=".".join([name, *place, key]))
    for name, schema in SCHEMAS.items()
    for place, key, inner, required in properties(schema)
]


@pytest.mark.parametrize(("heading", "key", "schema", "required"), KEYS)
def test_every_key_is_documented(heading, key, schema, required):
    text = section(heading)
    found = rows(section("A study") if key == heading else text).get(key)
    assert found, f"config/README.md has no row on {key} under {heading}"
    for cells in found:
        assert len(cells) == len(COLUMNS) and all(cells), f"{key} lacks its type, default or meaning"
    defaults = [cells[2] for cells in found]
    assert any("required" in said for said in defaults) if required else set(defaults) != {"required"}, key
    definition = SCHEMAS["study"]["$defs"].get(schema.get("$ref", "").split("/")[-1], {})
    values = schema.get("enum") or definition.get("enum", [])
    assert any(set(values) <= words(" ".join(cells)) | words(GENERATED_TABLES) for cells in found), key
    named = schema.get("propertyNames", {}).get("enum", [])
    assert set(named) <= words(text) | words(section("benchmarks"))


def test_only_keys_that_there_are_are_documented():
    there = {}
    for param in KEYS:
        there.setdefault(param.values[0], set()).add(param.values[1])
    there["benchmarks"] |= set(registry.names())
    there["audits"] |= {"groups", "layers", "names"}
    for heading, keys in there.items():
        documented = {key for key in rows(section(heading)) if not key.startswith("{")}
        assert documented <= keys | {"title", "lock"}, heading


def test_every_part_of_a_study_has_a_section_with_an_example():
    for key in SCHEMAS["study"]["properties"]:
        assert key in rows(section("A study"))
        assert "```yaml" in section(key), key
    for heading in ("config.yaml", "The mini family"):
        assert "```yaml" in section(heading), heading
    assert "```json" in section("The lock")


def keys_within(content):
    for key, value in content.items():
        yield key
        yield from keys_within(value) if isinstance(value, dict) else ()


def test_every_key_of_the_mini_family_is_documented():
    known = rows(section("The mini family"))
    used = set(keys_within(FAMILY)) - FAMILY["parents"].keys()
    accepted = {field.name for field in dataclasses.fields(Style)}
    accepted |= inspect.signature(training.train).parameters.keys() - {"model", "style", "seed"}
    assert (used | accepted) - known.keys() == set()
    assert all(all(cells) for found in known.values() for cells in found)


def default(heading, key):
    """What config/README.md says of a key's default, as YAML reads it; of several keys in a row, the key's own."""
    cells = rows(section(heading))[key][0]
    values, names = cells[2].split(", "), [span.split(".")[-1].strip("…") for span in spans(cells[0])]
    value = values[names.index(key)] if len(values) == len(names) else cells[2]
    return yaml.safe_load(value.strip("`"))


def fields(kind):
    return {field.name: field.default for field in dataclasses.fields(kind)}


def test_defaults_are_those_of_the_code():
    judge = {name: fields(Judge)[name] for name in ("temperature", "max_tokens", "retries", "connections")}
    limits = {name: fields(Limits)[name] for name in ("seconds", "memory_mb", "processes")}
    places = ("rules/serve.smk", "scripts/launcher/resources.py")
    serving = "".join((ROOT / place).read_text(encoding="utf-8") for place in places)
    serving = {key: int(number) for key, number in re.findall(r'serving\.get\("(\w+)", (\d+)\)', serving)}
    assert serving.keys() == {"nodes", "minutes", "start_minutes", "restarts"}
    style = {name: value for name, value in fields(Style).items() if value is not None}
    for heading, values in (
        ("judge", judge),
        ("sandbox", limits),
        ("serving", serving),
        ("audits", fields(Tolerance)),
        ("The mini family", style),
    ):
        for key, value in values.items():
            found = default(heading, key)
            assert (found if isinstance(value, str) else float(found)) == value, f"{heading}.{key}"
    text = section("benchmarks")
    for key, value in DEEPSEEK.items():
        assert rows(text)[key][0][2].startswith(str(value)), key
    for key in ("top_p", "max_tokens"):
        assert f"mini: {SMALL[key]}" in rows(text)[key][0][2]


def test_defaults_of_the_mini_familys_architecture_are_transformers():
    config = DeepseekV3Config()
    known = rows(section("The mini family"))
    for key in FAMILY["architecture"]:
        if key.startswith("rope"):
            continue
        assert key in known
        found = default("The mini family", key)
        assert float(found) == getattr(config, key), key
    assert default("The mini family", "rope_theta") == config.rope_parameters["rope_theta"]


def test_every_benchmark_is_documented():
    assert set(registry.names()) <= rows(section("benchmarks")).keys()


# every example is valid


def with_quiz(schema):
    """The study's schema, after docs/how-to/add-a-benchmark.md."""
    changed = json.loads(json.dumps(schema))
    benchmarks = changed["properties"]["benchmarks"]
    benchmarks["propertyNames"]["enum"].append("quiz")
    benchmarks["properties"]["quiz"] = {"$ref": "#/$defs/read"}
    return changed


@pytest.fixture
def quiz_known(monkeypatch):
    """The quiz of docs/how-to/add-a-benchmark.md, among the benchmarks."""
    quiz = Benchmark("quiz", "Quiz", "a quiz", lambda settings, dataset: [], Compared(str))
    known = registry.table() | {"quiz": quiz}
    monkeypatch.setattr("aoe.benchmarks._registered", [lambda: known])


def with_mean_square(schema):
    """The study's schema, after docs/how-to/add-a-norm.md."""
    return schema | {"$defs": schema["$defs"] | {"space": {"enum": [*norms.names(), "mean_square"]}}}


EXTENDED = {"add-a-benchmark": with_quiz, "add-a-norm": with_mean_square}


def merged(content, changes):
    """A study with a part of it replaced, key by key."""
    together = dict(content)
    for key, value in changes.items():
        known = together.get(key)
        together[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return together


EXAMPLES = [
    pytest.param(page, text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page, "yaml"), start=1)
]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_every_example_is_valid(page, text, tmp_path, quiz_known):
    content = yaml.safe_load(text)
    study = EXTENDED.get(page.stem, lambda schema: schema)(SCHEMAS["study"])
    if content.keys() <= SCHEMAS["config"]["properties"].keys():
        check_schema(content, SCHEMAS["config"], page)
    elif content.keys() <= FAMILY.keys():
        for parent in content["parents"].values():
            Style(**parent["style"])
            assert parent["training"].keys() == FAMILY["base"]["training"].keys()
    elif content.keys() >= {"title", "lock", "models"}:  # a study of its own
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        check_schema(content, study, page)
        if "benchmarks" not in content or "serving" in content:
            read_study("study", tmp_path, study)
    else:
        check_schema(merged(MINI, content), study, page)


def test_the_examples_are_found():
    assert len(EXAMPLES) > 20
    assert {param.values[0] for param in EXAMPLES} >= {CONFIG, README}


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_page_is_one_page(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n") <= 95
    assert all(len(line) <= 120 or line.startswith("|") for line in text.splitlines())


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


def test_the_readmes_two_commands_are_found_at_once():
    beginning = README.read_text(encoding="utf-8").split("\n## ")[1]
    (commands,) = re.findall(r"^```\n(.*?)^```$", beginning, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^make \w+", commands, re.MULTILINE) == ["make run", "make test"]


def test_the_map_names_every_page():
    links = {(MAP.parent / link.partition("#")[0]).resolve() for link in links_of(MAP)}
    assert {*DOCS, README, CONFIG} - {MAP} <= links
    assert MAP in {(ROOT / link).resolve() for link in links_of(README)}


def test_every_folder_of_the_code_is_named_where_the_code_is_described():
    layout = section_of(ROOT / "docs/how-it-works.md", "Where the code is")
    named = set(re.findall(r"([\w-]+)/", layout))
    folders = {path.parent for path in files() if path.suffix == ".py" and path.parts[0] == "scripts"}
    assert len(folders) > 4 and {folder.name for folder in folders} <= named


def test_the_example_of_a_lock_is_one():
    (text,) = blocks(CONFIG, "json")
    check_schema(json.loads(text), SCHEMAS["lock"], CONFIG)
    with pytest.raises(Exception, match="files"):
        check_schema(json.loads(text.replace("files", "file")), SCHEMAS["lock"], CONFIG)


# whatever is named exists


def anchors(page):
    """The fragments by which GitHub links to a page's headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in sections(page)}


def links_of(page):
    """The targets of a page's links and pictures within the repository."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    return [link for link in found if "://" not in link]


MARKDOWN = [ROOT / path for path in sorted(files()) if path.suffix == ".md"]


def test_all_markdown_is_found():
    assert {*DOCS, README, CONFIG, ROOT / "envs/README.md", ROOT / "resources/mini/README.md"} <= set(MARKDOWN)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = links_of(page)
    assert links or page not in (README, CONFIG, MAP), "none is found: is this test still one?"
    for link in links:
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.relative_to(ROOT) in files(), f"{link} is not in the repository"
        assert not fragment or fragment in anchors(target), link


def named_paths(page):
    """What a page names in backticks or in commands and looks like a file or folder of the repository."""
    text = page.read_text(encoding="utf-8")
    commands = " ".join(blocks(page, ""))
    code = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    first = {path.parts[0] for path in files() if path.parts}
    first |= {path.parts[1] for path in files() if len(path.parts) > 1 and ROOT / path.parts[0] == page.parent}
    for name in [*spans(code), *commands.split()]:
        name = name.strip("\"',;()")
        if not re.fullmatch(r"[\w.*/-]+", name) or name.startswith(("results/", "inputs/", "/", ".venv")):
            continue
        beginning, _, rest = name.partition("/")
        if (rest and beginning in first) or re.fullmatch(r"\w+\.(py|smk|rst|toml)|Makefile|Snakefile", name):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page):
    there = files()
    names = {path.name for path in there}
    found = set(named_paths(page))
    assert found or page not in (README, CONFIG, *HOW_TO), "none is found: is this test still one?"
    for name in found - MADE:
        places = [Path(name), page.parent.relative_to(ROOT) / name]
        known = any(place in there or any(path.match(str(place)) for path in there) for place in places)
        assert known or ("/" not in name and name in names), f"{name} does not exist"


def test_what_readers_make_is_not_there_and_is_still_named():
    assert not {name for name in MADE if (ROOT / name).exists()}
    named = {name for page in PAGES for name in [*named_paths(page), *page.read_text(encoding="utf-8").split()]}
    assert {name for name in MADE if not any(name in word for word in named)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_of_make_exists(page):
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    used = re.findall(r"^ *make ([a-z./]+)", "\n".join(blocks(page, "")), re.MULTILINE)
    used += re.findall(r"`make ([a-z]+)[`\s]", text)
    assert set(used) <= targets


# the pages on how to do things, done


def page(name):
    return next(page for page in HOW_TO if page.stem == name)


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def add_lines(path, after, lines, indent):
    edit(path, after, after + textwrap.indent(lines, indent))


def plan(clone, study, *targets):
    """rule -> jobs of a dry run."""
    words = ["--dry-run", "--quiet", "rules", "--config", f"study={study}", "--", *targets]
    text = clone.snakemake(*words).stdout
    return {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}


def lock(clone, study):
    clone.snakemake("--config", f"study={study}", "--", "lock")
    (clone.folder / f"results/{study}/lock.json").rename(clone.folder / f"config/studies/{study}.lock.json")


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


@pytest.mark.workflow
def test_ten_lines_are_a_chimera(clone):
    recipe = blocks(page("your-own-chimera"), "yaml")[0]
    assert len(recipe.splitlines()) == 10
    edit(clone.folder / "config/studies/mini.yaml", "\nvariants:\n", f"\n{recipe}")
    planned = plan(clone, "mini", "results/mini/scores/my-chimera.parquet")
    assert planned == {
        "verify_input": 3,
        "plan": 1,
        "merge": 5,
        "complete": 1,
        "answer": 1,
        "score": 1,
        "total": 12,
    }
    everything = plan(clone, "mini")
    assert everything["complete"] == 3 and everything["summary"] == 1


@pytest.mark.workflow
def test_a_study_of_ones_own_is_planned(clone):
    """Its models are two of the mini family's, and the dataset lies beside them."""
    text = blocks(page("your-own-chimera"), "yaml")[1]
    for name, model in (("instruct", "v3-0324"), ("thinking", "r1")):
        text = text.replace(f"path: /data/{name}", f"path: resources/mini/{model}")
    content = yaml.safe_load(text)
    content["datasets"]["aime2024"] = {"path": "aime"}
    content["serving"]["options"]["max-model-len"] = 640  # as long as a context of the mini family can be, about
    content["benchmarks"]["aime2024"]["max_tokens"] = 256
    (clone.folder / "aime").mkdir()
    (clone.folder / "aime/test.jsonl").write_text('{"id": "1", "problem": "1+1", "answer": "2"}\n', encoding="utf-8")
    (clone.folder / "config/studies/mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    lock(clone, "mine")
    planned = plan(clone, "mine")
    assert planned.items() >= {"verify_input": 3, "merge": 5, "answer": 3, "audit_verdict": 1, "figure8": 1}.items()


ASK_AND_SCORE = """
import json, sys
from inspect_ai.log import read_eval_log
from benchmarks.catalog import scored_rows, task_of
from benchmarks.runner import ask
from support.scripted import Reply, Scripted

name, dataset, reply = sys.argv[1:]
with Scripted(lambda request: Reply(f"</think>{reply}")) as server:
    tasks = [task_of(name, {"seed": 1}, ("resources/quiz", [dataset]))]
    logs = ask(tasks, "r1", server.url, "key", 2, f"logs/{name}")
print(json.dumps([[row["question"], row["right"]] for row in scored_rows(read_eval_log(logs[name]), 99)]))
print(logs[name])
"""


def ask_and_score(clone, name, dataset, reply):
    """({question: share of right}, the log) of a benchmark in a clone, whose answers are all the same."""
    path = f"PYTHONPATH={clone.folder}/scripts:{clone.folder}/tests"
    done = clone.run("env", path, sys.executable, "-c", ASK_AND_SCORE, name, dataset, reply)
    rows, log = done.stdout.strip().splitlines()[-2:]
    return dict(json.loads(rows)), log


def add_quiz(clone, **changes):
    """Add the benchmarks of the page to a clone, with a study that asks the quiz."""
    quiz, letters = blocks(page("add-a-benchmark"), "python")
    (study,), (questions,) = blocks(page("add-a-benchmark"), "yaml"), blocks(page("add-a-benchmark"), "json")
    (clone.folder / "scripts/benchmarks/suite/quiz.py").write_text(quiz, encoding="utf-8")
    (clone.folder / "scripts/benchmarks/suite/letters.py").write_text(letters, encoding="utf-8")
    (clone.folder / "resources/quiz").mkdir()
    (clone.folder / "resources/quiz/quiz.jsonl").write_text(questions, encoding="utf-8")
    mini = (clone.folder / "config/studies/mini.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(study + mini[mini.index("\nserving:\n") + 1 :]) | changes
    (clone.folder / "config/studies/quiz.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.workflow
def test_a_benchmark_is_added_as_the_page_says(clone):
    add_quiz(clone)
    rows, _ = ask_and_score(clone, "quiz", "quiz.jsonl", "55, no: 56.")
    assert rows == {"1": 1.0, "2": 0.0, "3": 0.0}
    lock(clone, "quiz")
    planned = plan(clone, "quiz")
    assert planned.items() >= {"answer": 3, "score": 3, "figure8": 1}.items()


JUDGED = {
    "datasets": {"quiz": {"path": "resources/quiz", "files": ["letters.jsonl"]}},
    "benchmarks": {"letters": {"dataset": "quiz", "seed": 1, "max_tokens": 256}},
    "scores": {"intelligence": ["letters"], "reference": "r1", "resamples": 100, "seed": 1},
}


@pytest.mark.workflow
def test_a_benchmark_with_a_judge_is_added_as_the_page_says(clone, monkeypatch):
    """Answers and judge are scripted: a rating beyond the scale is none."""
    monkeypatch.setenv("JUDGE_API_KEY", "key")

    def script(request):
        return Reply("[[4]]" if "Thank" in request["messages"][0]["content"] else "[[6]]")

    with Scripted(script) as server:
        add_quiz(clone, **JUDGED, judge={"model": "judge", "revision": "1", "endpoint": server.url, "retries": 0})
        tasks = [{"id": 1, "task": "Thank them."}, {"id": 2, "task": "Ask them."}]
        text = "".join(json.dumps(task) + "\n" for task in tasks)
        (clone.folder / "resources/quiz/letters.jsonl").write_text(text, encoding="utf-8")
        lock(clone, "quiz")
        assert plan(clone, "quiz").items() >= {"answer": 3, "judge": 1, "score": 3}.items()
        ungraded, log = ask_and_score(clone, "letters", "letters.jsonl", "Dear all")
        assert ungraded == {"1": None, "2": None}
        results = clone.folder / "results/quiz"
        for variant in ("v3-0324", "r1", "r1t"):
            (results / f"answers/{variant}").mkdir(parents=True)
            shutil.copy(clone.folder / log.removeprefix("file://"), results / f"answers/{variant}/letters.eval")
        rules = ["judge", "score", "verify_input"]
        clone.snakemake("--config", "study=quiz", "--allowed-rules", *rules, "--", "results/quiz/scores/r1.parquet")
    assert [request["messages"][0]["role"] for request in server.requests] == ["user"] * 6  # of three variants
    scores = pd.read_parquet(results / "scores/r1.parquet").set_index("question").right
    assert scores["1"] == 0.8 and pd.isna(scores["2"])
    judged = pd.read_csv(results / "judge.csv")
    assert judged.without_verdict.tolist() == [1, 1, 1] and "benchmark" not in judged


@pytest.mark.workflow
def test_a_mergekit_configuration_becomes_a_study_as_the_page_says(clone):
    """The study on the page is the one that is written; its plan has a λ for every tensor out of its angle."""
    (theirs,), (study,) = (blocks(page("from-mergekit"), language) for language in ("text", "yaml"))
    (clone.folder / "their.yaml").write_text(theirs, encoding="utf-8")
    clone.run("make", "convert", f"VENV={sys.prefix}", "MERGEKIT=their.yaml", "STUDY=theirs")
    written = (clone.folder / "config/studies/theirs.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written) == yaml.safe_load(study)
    lock(clone, "theirs")
    assert plan(clone, "theirs", "audit").items() >= {"diff": 5, "plan": 1, "merge": 5, "audit_verdict": 1}.items()
    clone.snakemake("--config", "study=theirs", "--", "results/theirs/plans/theirs.json")
    log = (clone.folder / "results/theirs/logs/plan/theirs.log").read_text(encoding="utf-8")
    assert "10 tensors = 0.7 v3-0324 + 0.3 r1" in log, "nearly parallel weights are summed"
    assert len(re.findall(r"48 tensors = 0\.6\d+ v3-0324 \+ 0\.40\d+ r1", log)) == 4, "each layer's gates and ups"
    assert "tensors = 1 v3-0324" in log


@pytest.mark.workflow
def test_an_architecture_is_added_as_the_page_says(clone):
    make, definition, test = blocks(page("add-an-architecture"), "python")
    (study,) = blocks(page("add-an-architecture"), "yaml")
    (clone.folder / "tiny.py").write_text(make, encoding="utf-8")
    path = f"PYTHONPATH={clone.folder}/scripts"
    said = clone.run("env", path, sys.executable, "tiny.py").stdout
    assert "'routed_experts': 48" in said and "`other`" not in said
    (clone.folder / "config/studies/olmoe.yaml").write_text(study, encoding="utf-8")
    lock(clone, "olmoe")
    done = clone.snakemake("--config", "study=olmoe", "--", "audit")
    assert "half: verified" in done.stdout
    assert "48 tensors = 0.5 base + 0.5 other" in (clone.folder / "results/olmoe/merged/half/README.md").read_text(
        encoding="utf-8"
    )
    (clone.folder / "scripts/aoe/checkpoints/architectures/olmoe.py").write_text(definition, encoding="utf-8")
    tests = clone.folder / "tests/aoe/checkpoints"
    (tests / "architectures").mkdir()
    (tests / "architectures/test_olmoe.py").write_text(test, encoding="utf-8")
    clone.run(sys.executable, "-m", "pytest", "-q", tests / "architectures", tests / "test_architectures.py")
    clone.run("env", path, sys.executable, "-m", "documentation")
    assert "| `olmoe` | OLMoE |" in (clone.folder / "config/README.md").read_text(encoding="utf-8")
    clone.run(sys.executable, "-m", "ruff", "check", "scripts/aoe", tests / "architectures")


@pytest.mark.workflow
def test_a_norm_is_added_as_the_page_says(clone):
    (entry,), (test,) = (blocks(page("add-a-norm"), language) for language in ("text", "python"))
    (study,) = blocks(page("add-a-norm"), "yaml")
    last = "        of_sums=_relative,\n        audit_order=4,\n    ),\n"
    add_lines(clone.folder / "scripts/aoe/norms.py", last, entry, "    ")
    with open(clone.folder / "tests/aoe/test_norms.py", "a", encoding="utf-8") as tests:
        tests.write(f"\n\n{test}")
    (clone.folder / "config/studies/mine.yaml").write_text(study, encoding="utf-8")
    clone.run(sys.executable, "-m", "pytest", "-q", "tests/aoe/test_norms.py")
    clone.run("env", f"PYTHONPATH={clone.folder}/scripts", sys.executable, "-m", "documentation")
    assert "| `mean_square` |" in (clone.folder / "config/README.md").read_text(encoding="utf-8")
    clone.snakemake("--config", "study=mine", "--", "results/mine/plans/above.json")
    column = read_table(clone.folder / "results/mine/differences.parquet")["mean_square"]
    assert 0 < (column > 1e-6).sum() < len(column)
    log = (clone.folder / "results/mine/logs/plan/above.log").read_text(encoding="utf-8")
    assert "tensors = 0.5 v3-0324 + 0.5 r1" in log and "tensors = 1 v3-0324" in log


@pytest.mark.workflow
def test_a_figure_is_added_as_the_page_says(clone):
    (code,) = blocks(page("add-a-figure"), "python")
    module = clone.folder / "scripts/aoe/document/figures/figure12.py"
    module.write_text(code, encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        clone.run(sys.executable, "-m", "ruff", *command, "scripts/aoe/document/figures")
    assert plan(clone, "mini")["figure12"] == 1

    folder = clone.folder / "results/mini"
    folder.mkdir(parents=True)
    head = "variant,label,closing,closing_low,closing_high,intelligence,intelligence_low,intelligence_high"
    (folder / "summary.csv").write_text(
        f"{head}\na,A,0.5,0.4,0.6,70,60,80\nb,B,1,0.9,1,90,80,95\nc,C,1,1,1,,,\n", encoding="utf-8"
    )
    clone.snakemake("--allowed-rules", "figure12", "--", "results/mini/figures/figure12.svg")
    assert sorted(path.suffix for path in (folder / "figures").iterdir()) == [".csv", ".pdf", ".png", ".svg"]
    assert len((folder / "figures/figure12.csv").read_text(encoding="utf-8").splitlines()) == 3

    def python(*words):
        return clone.run("env", f"PYTHONPATH={clone.folder}/scripts", sys.executable, *words).stdout

    of_document = "from pathlib import Path; from aoe.document.paper import figures"
    settings = {"figure12": {"paper_values": []}}
    said = python("-c", f"{of_document}; print(figures(Path('results/mini'), {settings}, True))")
    assert "The highest score is that of B, 90.0 %." in said
    python("-m", "documentation")
    listed = (clone.folder / "docs/figures.md").read_text(encoding="utf-8")
    assert "| 12 | Intelligence against the think rate | `summary.csv` |" in listed

    edit(module, "    finding=finding,\n", "")
    done = clone.snakemake("--dry-run", check=False)
    told = done.stdout + done.stderr
    assert done.returncode and re.search(r"figure12\.py does not define a complete figure \(.*'finding'", told)


@pytest.mark.workflow
def test_the_first_days_commands_are_ones(clone):
    """As far as there is no cluster: every target is one, and what the page says of site.yaml goes into it."""
    text = page("first-day-on-a-cluster").read_text(encoding="utf-8")
    (site,) = blocks(page("first-day-on-a-cluster"), "yaml")
    own = yaml.safe_load((clone.folder / "profiles/slurm/site.yaml").read_text(encoding="utf-8"))
    check_schema(own | yaml.safe_load(site), SCHEMAS["config"], "site.yaml")
    targets = re.findall(r"snakemake (?:--profile slurm|--cores 2) (\w+)$", text, re.MULTILINE)
    assert targets == ["cost", "preflight", "preflight"]
    for target in set(targets):
        assert plan(clone, "paper", target) == {target: 1, "total": 1}
    for check in re.findall(r"`results/\w+/([\w.]+)`", text):
        assert check in (clone.folder / "scripts/launcher/preflight/flight.py").read_text(encoding="utf-8")
