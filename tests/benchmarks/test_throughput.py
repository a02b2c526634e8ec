"""A queue of questions put straight to a server: what is asked, how much at once, and what is measured."""

import threading

from benchmarks.catalog import task_of
from benchmarks.throughput import Answered, measures, put
from support.scripted import Reply, Scripted


def test_a_queue_asks_what_the_study_asks_and_times_it():
    now, most, lock = 0, 0, threading.Lock()

    def script(request):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return Reply("one two three", pause=0.05, delay=0.02)
        finally:
            threading.Timer(0.05, leave).start()

    def leave():
        nonlocal now
        with lock:
            now -= 1

    settings = {"questions": 8, "seed": 3, "temperature": 0.6, "max_tokens": 64}
    with Scripted(script) as server:
        answers, seconds = put(task_of("arithmetic", settings), 3, "scripted", server.url, "key", 4)
        requests = server.requests
    assert len(answers) == len(requests) == 8 and most <= 4
    assert {answer.tokens for answer in answers} == {3}
    for answer in answers:
        assert 0.04 < answer.seconds_to_first < answer.seconds < seconds
    assert len({request["seed"] for request in requests}) == 8
    for request in requests:
        assert request["messages"][-1] == {"role": "assistant", "content": "<think>\n"}
        assert (request["temperature"], request["max_tokens"]) == (0.6, 64) and request["continue_final_message"]


def test_a_queue_is_sampled_as_its_benchmark():
    settings = {"questions": 2, "seed": 3, "force_think": False, "top_k": 5, "stop": ["x"]}
    task = task_of("arithmetic", settings)
    by_question = task_of("arithmetic", settings | {"temperature": None})
    for sample in by_question.dataset:
        sample.metadata = {"temperature": 0.1}
    with Scripted(lambda request: Reply("one")) as server:
        put(task, 3, "scripted", server.url, "key", 2)
        put(by_question, 3, "scripted", server.url, "key", 2)
        requests = server.requests
    assert [request["temperature"] for request in requests] == [0.6, 0.6, 0.1, 0.1]
    for request in requests:
        assert request["messages"][-1]["role"] == "user" and "continue_final_message" not in request
        assert (request["top_k"], request["stop"]) == (5, ["x"])


def test_what_is_told_of_a_queue():
    found = measures([Answered(10, 1.0, 0.1), Answered(30, 3.0, 0.2), Answered(20, 2.0, 0.9)], 4.0)
    assert found == {
        "answers": 3,
        "tokens_an_answer": 20,
        "seconds_an_answer": 2,
        "seconds_to_first": 0.2,
        "tokens_per_second_of_an_answer": 10,
        "answers_per_second": 0.75,
        "tokens_per_second": 15,
    }
