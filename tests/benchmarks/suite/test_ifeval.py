"""IFEval: prompts are read with their rules, and answers graded as Inspect's own scorer grades them."""

import asyncio
import itertools
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelName, ModelOutput
from inspect_ai.scorer import Target
from inspect_ai.solver import TaskState
from inspect_evals.ifeval.ifeval import instruction_following, record_to_sample
from aoe import AoeError
from benchmarks.catalog import check_dataset, scored_rows, task_of
from benchmarks.registry import Turn
from benchmarks.runner import ask
from benchmarks.suite import ifeval
from support.scripted import END_THINK, Reply, Scripted

# Prompts in the published fields, with every kind of value that `kwargs` has there.
RULES = [
    {"punctuation:no_comma": {}, "length_constraints:number_words": {"relation": "at least", "num_words": 5}},
    {"length_constraints:number_sentences": {"relation": "less than", "num_sentences": 3}},
    {"keywords:existence": {"keywords": ["router", "gate"]}, "keywords:forbidden_words": {"forbidden_words": ["cat"]}},
    {"change_case:capital_word_frequency": {"capital_relation": "at least", "capital_frequency": 2}},
    {"language:response_language": {"language": "de"}},
    {"detectable_format:json_format": {}},
    {"startend:end_checker": {"end_phrase": "That is all."}, "startend:quotation": {}},
    {"combination:repeat_prompt": {"prompt_to_repeat": "Say what a router does."}},
    {"detectable_format:number_bullet_lists": {"num_bullets": 2}, "detectable_format:title": {}},
    {"length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"}},
]
RECORDS = [
    {
        "key": 1000 + number,
        "prompt": f"Say what a router does. {number}",
        "instruction_id_list": list(rules),
        "kwargs": list(rules.values()),
    }
    for number, rules in enumerate(RULES)
]
ANSWERS = [
    "The router and its gate pick eight experts for every token",
    "The router picks experts, e.g. eight of them. Mr. Gate agrees. That is it.",
    "The ROUTER of the GATE is a cat. It picks, and sends.",
    "Der Router wählt für jedes Token acht Experten aus und verteilt die Arbeit auf sie.",
    '{"router": "gate"}',
    '"It picks experts. That is all."',
    "Say what a router does.\n\nIt picks experts.",
    "<<Routers>>\n* one\n* two",
    "First it looks.\n\nSo it picks.",
    "",
]


@pytest.fixture
def dataset(tmp_path):
    file = tmp_path / "ifeval_input_data.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return str(tmp_path), [file.name]


def turn(question, shown):
    return Turn(question.id, 1, 1, shown, "", question.metadata, [question.input], [shown])


def test_prompts_keep_their_order_and_their_rules(dataset):
    questions = ifeval.samples(*dataset)
    assert [question.id for question in questions] == [str(record["key"]) for record in RECORDS]
    assert questions[0].input == "Say what a router does. 0"
    assert questions[0].metadata == {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": 5}],
    }
    assert check_dataset("ifeval", {"dataset": "theirs", "seed": 1}, dataset) == len(RECORDS)


def test_a_table_with_all_keys_gives_the_same_prompts(dataset, tmp_path):
    """The Hub's tables have every key in every dict, most of them without a value."""
    import pandas as pd

    keys = sorted({key for record in RECORDS for one in record["kwargs"] for key in one})
    filled = [
        {**record, "kwargs": [{key: one.get(key) for key in keys} for one in record["kwargs"]]} for record in RECORDS
    ]
    (tmp_path / "table").mkdir()
    pd.DataFrame(filled).to_parquet(tmp_path / "table/train.parquet")
    table, plain = ifeval.samples(tmp_path / "table", ["train.parquet"]), ifeval.samples(*dataset)
    assert table == plain


def theirs(record, shown):
    """What Inspect's scorer says of an answer: (all instructions followed, how many of them)."""
    sample = record_to_sample(record)
    state = TaskState(ModelName("none/none"), sample.id, 1, sample.input, [], metadata=sample.metadata)
    state.output = ModelOutput.from_content("", shown)
    score = asyncio.run(instruction_following()(state, Target("")))
    return score.value["prompt_level_strict"], score.value["inst_level_strict"]


@pytest.fixture
def published_package(monkeypatch):
    """The package that Inspect's scorer imports, which no index has: its loop around the same rules."""
    from if_verifiable.ifeval import INSTRUCTION_DICT

    def tested(example, response, strict):
        followed = []
        for number, name in enumerate(example.instruction_id_list):
            rule = INSTRUCTION_DICT[name](name)
            rule.build_description(**example.kwargs[number])
            if "prompt" in (rule.get_instruction_args() or {}):
                rule.build_description(prompt=example.prompt)
            followed.append(bool(response.strip()) and bool(rule.check_following(response)))
        return SimpleNamespace(follow_all_instructions=all(followed), follow_instruction_list=followed)

    module = ModuleType("instruction_following_eval.evaluation")
    module.InputExample = SimpleNamespace
    module.ensure_nltk_resource = lambda: None
    module.test_instruction_following = tested
    monkeypatch.setitem(sys.modules, "instruction_following_eval", ModuleType("instruction_following_eval"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_answers_are_graded_as_inspect_grades_them(dataset, published_package):
    questions, right = ifeval.samples(*dataset), set()
    for (number, record), shown in itertools.product(enumerate(RECORDS), ANSWERS):
        ours = ifeval.follows_all(turn(questions[number], shown))
        strict, followed = theirs(record, shown)
        assert ours == strict, (record, shown)
        right |= {number} if ours else set()
        if 0 < followed < len(record["kwargs"]):
            assert not ours, "an answer that follows only some of its instructions is wrong"
    assert right == set(range(len(RULES))), "every rule has an answer that follows it"


@pytest.mark.parametrize(
    ("number", "shown", "right"),
    [
        (1, "One. Two, says Mr. Smith.", True),  # an abbreviation ends no sentence
        (1, "One. Two. Three.", False),
        (0, "five words without any comma", True),
        (0, "five words, with one comma", False),
        (0, "**five words, with one comma**", False),
        (8, "Here you are:\n<<Routers>>\n* one\n* two", True),
        (8, "<<Routers>>\n* one\n* two\n* three", False),
        (6, 'Here you are: "It picks experts. That is all."', False),  # strict: no line is left out
    ],
)
def test_grades_are_those_of_the_rules_by_hand(dataset, number, shown, right):
    assert ifeval.follows_all(turn(ifeval.samples(*dataset)[number], shown)) == right


def test_a_language_is_the_same_every_time(dataset):
    question = ifeval.samples(*dataset)[4]
    found = {ifeval.follows_all(turn(question, "Router Gate Experten Token")) for _ in range(20)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"instruction_id_list": ["poetry:rhymes"], "kwargs": [{}]}, "the instruction 'poetry:rhymes'"),
        ({"kwargs": [{}]}, r"1000 does not have one dict of `kwargs`"),
        ({"kwargs": "none"}, r"does not have one dict"),
        ({"instruction_id_list": [], "kwargs": []}, r"does not have one dict"),
        ({"kwargs": [{}, {"colour": "red"}]}, "unexpected keyword argument 'colour'"),
        ({"kwargs": [{}, {"relation": "about", "num_words": 5}]}, "at least"),
        ({"prompt": None}, "has no field 'prompt'"),
    ],
)
def test_prompts_that_are_none_of_ifeval_are_named_before_anything_is_served(tmp_path, change, sentence):
    (tmp_path / "data.jsonl").write_text(json.dumps(RECORDS[0] | change), encoding="utf-8")
    with pytest.raises(AoeError, match=f"ifeval cannot be asked with the dataset theirs: .*{sentence}"):
        check_dataset("ifeval", {"dataset": "theirs", "seed": 1}, (str(tmp_path), ["data.jsonl"]))


def test_reasoning_is_no_part_of_the_answer(dataset, tmp_path):
    """Commas before ``</think>`` do not count; an answer that is cut off before it has nothing to read."""
    replies = {
        "0": Reply("well, let, me, see</think>five words without any comma"),
        "1": Reply("well</think>", finish="length"),
        "2": Reply("well, router, gate"),
    }

    def model(request):
        return replies[request["messages"][0]["content"].rsplit(" ", 1)[1]]

    settings = {"seed": 1, "questions": 3, "answers": 2, "top_k": 20, "max_tokens": 81920}
    with Scripted(model) as server:
        task = task_of("ifeval", settings, dataset)
        logs = ask([task], "scripted", server.url, "key", 4, tmp_path / "logs")
        requests = server.requests
    rows = list(scored_rows(read_eval_log(logs["ifeval"]), END_THINK))
    found = {row["question"]: (row["right"], row["unreadable"], row["closing_tags"]) for row in rows}
    assert found == {"1000": (1, False, 1), "1001": (0, True, 1), "1002": (1, False, 0)}
    assert sorted(row["sample"] for row in rows) == [1, 1, 1, 2, 2, 2]
    assert len({request["seed"] for request in requests}) == 6
    assert {(request["top_k"], request["max_tokens"]) for request in requests} == {(20, 81920)}
