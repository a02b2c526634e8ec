"""Questions put to an endpoint that stumbles, dies or is slow: no finished answer is asked for again, none is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from aoe import AoeError
from benchmarks.runner import LONG, ask
from benchmarks.solver import answers_of, make_task
from support import scripted
from support.scripted import Reply, Scripted

QUESTIONS = 80


def task(questions=QUESTIONS, **settings):
    samples = [Sample(id=number, input=f"question {number}", target="") for number in range(questions)]
    return make_task("counting", samples, **{"seed": 1, "temperature": 0.6, "top_p": 1.0, "max_tokens": 8, **settings})


def put(script, folder, *tasks, connections=4):
    """{question: its first answer} and the requests that a scripted endpoint got."""
    with Scripted(script) as server:
        try:
            logs = ask(tasks or [task()], "scripted", server.url, "key", connections, folder)
        except AoeError as error:
            return error, server.requests
    samples = read_eval_log(logs["counting"]).samples
    return {(sample.id, sample.epoch): answers_of(sample)[0] for sample in samples}, server.requests


def echo(request):
    return Reply(f"{request['messages'][0]['content']} {request['seed']}")


def test_a_server_that_dies_loses_no_finished_answer(tmp_path):
    asked = []

    def until_57(request):
        asked.append(request)
        if len(asked) == 57:
            server.stop()
        return echo(request)

    with Scripted(until_57) as server, pytest.raises(AoeError, match="scripted did not finish counting"):
        ask([task()], "scripted", server.url, "key", 4, tmp_path / "logs")
    answers, again = put(echo, tmp_path / "logs")
    assert len(again) <= QUESTIONS - 57 + 4  # what was under way is asked again
    undisturbed, _ = put(echo, tmp_path / "undisturbed")
    assert {place: answer["text"] for place, answer in answers.items()} == {
        place: answer["text"] for place, answer in undisturbed.items()
    }
    assert len(answers) == QUESTIONS


KILLED = """
import sys
from benchmarks.runner import ask
from test_runner import task, LONG
ask([task(max_tokens=LONG)], "scripted", sys.argv[1], "key", 4, sys.argv[2])
"""


def test_a_job_that_is_killed_loses_no_finished_long_answer(tmp_path):
    with Scripted(lambda request: Reply("slow answer", pause=0.1)) as server:
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
        job = subprocess.Popen([sys.executable, "-c", KILLED, server.url, tmp_path], env=paths)
        while len(server.requests) < 40 and job.poll() is None:
            time.sleep(0.01)
        assert job.poll() is None
        job.send_signal(signal.SIGKILL)
        job.wait()
        before = len(server.requests)
    answers, again = put(echo, tmp_path, task(max_tokens=LONG))
    assert len(answers) == QUESTIONS
    assert len(again) <= QUESTIONS - before + 8  # those under way, and those being written


def test_lost_connections_and_stumbles_are_survived(tmp_path):
    stumbles = [Reply("half of an answer", dropped=2), Reply("half", finish="abort"), Reply(status=500)]
    answers, requests = put(lambda request: stumbles.pop() if stumbles else echo(request), tmp_path, task(3))
    assert [answers[number, 1]["text"].split()[1:3] for number in range(3)] == [["question", str(n)] for n in range(3)]
    assert len(requests) == 6


def test_a_server_that_does_not_say_its_tokens_is_none_for_us(tmp_path, monkeypatch):
    monkeypatch.setattr(scripted, "TOKEN_IDS", False)
    error, _ = put(echo, tmp_path, task(1))
    assert "the server does not say the ids of its tokens" in str(error)


def test_a_refusal_is_reported_at_once(tmp_path):
    error, requests = put(lambda request: Reply(status=400), tmp_path, task(1))
    assert "did not finish counting" in str(error) and "HTTP status 400" in str(error) and "scripted" in str(error)
    assert len(requests) == 1


def test_a_server_that_always_stumbles_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.solver.RETRIES", 1)
    error, requests = put(lambda request: Reply(status=500), tmp_path, task(1))
    assert "HTTP status 500" in str(error)
    assert len(requests) == 2


def test_times_are_measured(tmp_path):
    answers, _ = put(lambda request: Reply("a b c d e", pause=0.3, delay=0.1), tmp_path, task(4))
    for answer in answers.values():
        assert 0.3 <= answer["seconds_to_first"] < 0.3 + 0.35
        assert answer["seconds"] >= 0.7 and answer["seconds"] - answer["seconds_to_first"] >= 0.4
        assert len(answer["token_ids"]) == 5


def test_answers_of_other_settings_are_not_taken_for_these(tmp_path):
    put(echo, tmp_path, task(4))
    _, requests = put(echo, tmp_path, task(4, temperature=0.5))
    assert len(requests) == 4
