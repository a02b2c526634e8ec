"""MT-Bench and its judge: what is asked, what is understood of the verdicts, and what is kept."""

import json

import pytest
from inspect_ai.log import read_eval_log
from aoe import AoeError
from benchmarks.catalog import scored_rows, task_of, turns_of
from benchmarks.judging import Judge, judge_all, rating_of
from benchmarks.runner import ask
from benchmarks.suite.mt_bench import Judging, prompts, samples
from support.scripted import END_THINK, Reply, Scripted

PROMPTS = {
    "single-v1": "Q: {question} A: {answer}",
    "single-math-v1": "Q: {question} REF: {ref_answer_1} A: {answer}",
    "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2}",
    "single-math-v1-multi-turn": "{question_1} {ref_answer_1} {question_2} {ref_answer_2} / {answer_1} {answer_2}",
}


@pytest.fixture
def dataset(tmp_path):
    """Two questions, one of which needs a reference answer, in the published fields."""
    questions = [
        {"question_id": 81, "category": "writing", "turns": ["Write {braces}.", "Shorter."]},
        {"question_id": 111, "category": "math", "turns": ["1+1?", "And 2+2?"], "reference": ["2", "4"]},
    ]
    reference = {"question_id": 111, "choices": [{"index": 0, "turns": ["two", "four"]}]}
    prompts = [{"name": n, "system_prompt": f"You are {n}.", "prompt_template": text} for n, text in PROMPTS.items()]
    content = {
        "question.jsonl": questions,
        "reference_answer/gpt-4.jsonl": [reference],
        "judge_prompts.jsonl": prompts,
    }
    for file, records in content.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return tmp_path, [*content, "README.md"]


def test_questions_have_follow_ups_and_their_categorys_temperature(dataset):
    first, second = samples(*dataset)
    assert (first.id, first.input, first.metadata["follow_ups"]) == ("81", "Write {braces}.", ["Shorter."])
    assert (first.metadata["temperature"], second.metadata["temperature"]) == (0.7, 0.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"turns": "hello"}, "has no list of turns"),
        ({"turns": []}, "no list"),
        ({"category": "Math"}, "unknown category"),
    ],
)
def test_questions_that_are_none_of_mt_bench_are_named(tmp_path, change, sentence):
    record = {"question_id": 81, "category": "math", "turns": ["a", "b"], **change}
    (tmp_path / "question.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(AoeError, match=f"question 81 .*{sentence}"):
        samples(tmp_path, ["question.jsonl"])


def test_the_judge_is_asked_with_the_prompt_of_category_and_turn(dataset):
    judging = Judging.read(*dataset)
    system, user = judging.messages("81", "writing", ["Write {braces}."], ["{so}"])
    assert (system["content"], user["content"]) == ("You are single-v1.", "Q: Write {braces}. A: {so}")
    _, user = judging.messages("111", "math", ["1+1?"], ["3"])
    assert user["content"] == "Q: 1+1? REF: two A: 3"
    _, user = judging.messages("111", "math", ["1+1?", "And 2+2?"], ["3", "5"])
    assert user["content"] == "1+1? two And 2+2? four / 3 5"
    with pytest.raises(AoeError, match=r"question 112 .* has no reference answer"):
        judging.messages("112", "math", ["?"], ["!"])


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Good. Rating: [[8]]", 8),
        ("[[7.5]]", 7.5),
        ("[[10]] or [[2]]", None),
        ("Rating: [6]", 6),
        ("[[11]]", None),
        ("[[0]]", None),
        ("[[eight]]", None),
        ("8/10", None),
        ("", None),
    ],
)
def test_ratings_are_read_as_published(text, rating):
    assert rating_of(text) == rating


def judge(script, questions, cache, **settings):
    with Scripted(script) as server:
        asked = Judge("judge", server.url, "2026-01-01", **settings)
        return judge_all(asked, "key", questions, cache), server.requests


def question(text):
    return [{"role": "user", "content": text}]


def test_verdicts_are_kept_and_malformed_ones_asked_again_then_missing(tmp_path):
    def script(request):
        words = request["messages"][-1]["content"]
        if words == "stubborn" or (words == "hesitant" and request["seed"] < 3):
            return Reply("It is nice.")
        return Reply("Rating: [[9]]")

    questions = [question(words) for words in ("plain", "hesitant", "stubborn")]
    verdicts, requests = judge(script, questions, tmp_path, retries=2)
    assert [verdict.rating for verdict in verdicts] == [9, 9, None]
    assert [verdict.attempts for verdict in verdicts] == [1, 3, 3]
    assert len(requests) == 7
    again, requests = judge(script, questions, tmp_path)
    assert again == verdicts
    assert requests == []
    _, requests = judge(script, questions, tmp_path, temperature=0.5)  # another judge
    assert len(requests) == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace("9.0", "99.0"),
        lambda text: text.replace("9.0", '"9"'),
        lambda text: text.replace("plain", "another question"),
    ],
)
def test_a_verdict_that_was_damaged_is_asked_for_again(tmp_path, damage):
    judge(lambda request: Reply("[[9]]"), [question("plain")], tmp_path)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(damage(kept.read_text(encoding="utf-8")), encoding="utf-8")
    (verdict,), requests = judge(lambda request: Reply("[[3]]"), [question("plain")], tmp_path)
    assert (verdict.rating, len(requests)) == (3, 1)


def test_a_judge_that_may_be_asked_more_often_is(tmp_path):
    (verdict,), _ = judge(lambda request: Reply("nice"), [question("plain")], tmp_path, retries=0)
    assert verdict.rating is None
    (verdict,), _ = judge(lambda request: Reply("[[3]]"), [question("plain")], tmp_path, retries=1)
    assert verdict.rating == 3


def test_a_judge_that_is_cut_off_has_given_no_rating(tmp_path):
    def script(request):
        return Reply("First, [[2]] would be", finish="length") if request["seed"] == 1 else Reply("Rating: [[9]]")

    (verdict,), requests = judge(script, [question("plain")], tmp_path)
    assert (verdict.rating, verdict.attempts, len(requests)) == (9, 2, 2)


def test_a_kept_verdict_is_read_as_verdicts_are_read_now(tmp_path):
    judge(lambda request: Reply("It cites [[2]]. Rating: [[9]]"), [question("plain")], tmp_path)
    (kept,) = tmp_path.glob("*.json")
    content = json.loads(kept.read_text(encoding="utf-8"))
    content["verdict"]["rating"] = 2.0  # as the first brackets say
    del content["verdict"]["finish"]  # verdicts of older releases have none
    kept.write_text(json.dumps(content), encoding="utf-8")
    (verdict,), requests = judge(lambda request: Reply("[[3]]"), [question("plain")], tmp_path)
    assert (verdict.rating, requests) == (9, [])


def test_a_proxy_is_not_for_a_judge_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (verdict,), _ = judge(lambda request: Reply("[[3]]"), [question("plain")], tmp_path)
    assert verdict.rating == 3


def test_a_judge_that_refuses_loses_no_verdict(tmp_path):
    def script(request):
        return Reply("[[5]]") if request["messages"][-1]["content"] == "easy" else Reply(status=401)

    with pytest.raises(AoeError, match=r"The judge judge did not answer \(AuthenticationError, HTTP 401\)"):
        judge(script, [question("easy"), question("hard")], tmp_path)
    verdicts, requests = judge(lambda request: Reply("[[1]]"), [question("easy"), question("hard")], tmp_path)
    assert [verdict.rating for verdict in verdicts] == [5, 1]
    assert len(requests) == 1


def test_a_question_that_is_too_long_for_the_judge_has_no_verdict(tmp_path):
    def script(request):
        return Reply("[[5]]") if request["messages"][-1]["content"] == "short" else Reply(status=400)

    verdicts, _ = judge(script, [question("short"), question("long")], tmp_path)
    assert [(verdict.rating, verdict.refused) for verdict in verdicts] == [(5, False), (None, True)]
    _, requests = judge(script, [question("short"), question("long")], tmp_path)
    assert len(requests) == 1  # it is not kept: another time the judge may take it
    with pytest.raises(AoeError, match=r"The judge judge refuses every question: .*400"):
        judge(script, [question("long")], tmp_path)


def test_both_turns_are_asked_judged_and_scored(dataset, tmp_path):
    """The second turn sees of the first what a reader sees; the judge sees no reasoning; a missing verdict is none."""

    def model(request):
        words = [message["content"] for message in request["messages"] if message["role"] == "user"]
        return Reply(f"so</think>to {words[-1]}", finish="length" if words[-1] == "Shorter." else "stop")

    with Scripted(model) as server:
        logs = ask([task_of("mt_bench", {"seed": 1}, dataset)], "scripted", server.url, "key", 4, tmp_path / "logs")
    log = read_eval_log(logs["mt_bench"])
    second = next(r for r in server.requests if r["messages"][-2]["content"] == "Shorter.")
    assert [m["content"] for m in second["messages"]] == [
        "Write {braces}.",
        "to Write {braces}.",
        "Shorter.",
        "<think>\n",
    ]
    assert second["temperature"] == 0.7
    assert {r["temperature"] for r in server.requests if "1+1?" in r["messages"][0]["content"]} == {0.0}

    turns = [turn for turn, _ in turns_of(log)]
    questions = list(map(prompts(dataset), turns))
    assert not any("</think>" in question[1]["content"] for question in questions)
    verdicts, _ = judge(
        lambda request: Reply("[[6]]" if "REF" in request["messages"][1]["content"] else "nice"),
        questions,
        tmp_path / "v",
    )
    marks = {t.place: v.rating and v.rating / 10 for t, v in zip(turns, verdicts, strict=True)}
    rows = list(scored_rows(log, END_THINK, marks))
    assert {(r["question"], r["turn"]): (r["category"], r["right"], r["finish"]) for r in rows} == {
        ("81", 1): ("writing", None, "stop"),
        ("81", 2): ("writing", None, "max_tokens"),
        ("111", 1): ("math", 0.6, "stop"),
        ("111", 2): ("math", None, "stop"),
    }
