"""What would fail at a server, or when answers are scored, is said while the study is planned."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from aoe import AoeError
from aoe.serving.servable import VERDICT, check_servable, check_template, end_think_id, longest, tokens
from aoe.studies.study import read_study
from benchmarks.judging import Judge
from launcher.schemas import read_schema
from support.clones import ROOT

SCHEMA = read_schema("study")
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"))
GPU = yaml.safe_load((ROOT / "config/studies/mini-gpu.yaml").read_text(encoding="utf-8"))


def read(tmp_path, change):
    """The mini study after a change to its content."""
    content = json.loads(json.dumps(MINI))
    change(content)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_study("test", tmp_path, SCHEMA)


def asked(**settings):
    return lambda c: c["benchmarks"]["arithmetic"].update(settings)


def served(**options):
    return lambda c: c["serving"]["options"].update({name.replace("_", "-"): value for name, value in options.items()})


def on_gpus(**options):
    def change(content):
        content["serving"] = json.loads(json.dumps(GPU["serving"]))
        served(**options)(content)

    return change


def judged(**settings):
    def change(content):
        content["datasets"] = {"mt": {"path": "mt"}}
        content["benchmarks"]["mt_bench"] = {"dataset": "mt", "seed": 1, "max_tokens": 99}
        content["judge"] = {"model": "r1", **settings}

    return change


def timed(**options):
    queues = [{"at_once": 1, "questions": 1}]
    latency = {"variants": ["r1"], "benchmark": "arithmetic", "queues": queues, "repeats": 1, "options": options}
    return lambda c: c.update(latency=latency)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (asked(max_tokens=641), r"arithmetic\.max_tokens: 641 is beyond serving\.options\.max-model-len, 640"),
        (served(max_model_len=255), r"arithmetic\.max_tokens: 256 is beyond"),
        (judged(max_tokens=641), r"judge\.max_tokens: 641 is beyond"),
        (judged(), r"judge\.max_tokens: 2048 is beyond"),
        (timed(**{"max-model-len": 128}), r"arithmetic\.max_tokens: 256 is beyond latency\.options\.max-model-len"),
        (asked(temperature=2.5), r"arithmetic\.temperature: 2\.5 is more than"),
        (asked(temperature=-1), r"at benchmarks\.arithmetic\.temperature"),
        (asked(top_p=1.5), r"at benchmarks\.arithmetic\.top_p"),
        (asked(top_k=-1), r"at benchmarks\.arithmetic\.top_k"),
        (asked(min_p=2), r"at benchmarks\.arithmetic\.min_p"),
        (asked(repetition_penalty=0), r"at benchmarks\.arithmetic\.repetition_penalty"),
        (asked(stop=[]), r"at benchmarks\.arithmetic\.stop"),
        (asked(questions=12.0), r"arithmetic\.questions: 12\.0 is not of type .integer.: write 12"),
        (asked(questions=0), r"at benchmarks\.arithmetic\.questions"),
        (lambda c: c["scores"].update(seed=-1), r"at scores\.seed: -1 is less than"),
        (lambda c: c["scores"].update(seed=1.0), r"scores\.seed: 1\.0 is not of type"),
        (lambda c: c["scores"].update(resamples=2000.0), r"scores\.resamples: 2000\.0 is not of type"),
        (lambda c: c["scores"].update(resamples=0), r"at scores\.resamples"),
        (lambda c: c["serving"].update(connections=0), r"at serving\.connections"),
        (served(generation_config="auto"), r"generation-config: auto would sample each variant"),
        (served(reasoning_parser="deepseek_r1"), r"reasoning-parser keeps the reasoning apart"),
        (served(max_num_seqs=None), r"serving\.options\.max-num-seqs has no value"),
        (served(model="m"), r"model is what the workflow itself sets"),
        (served(served_model_name="m"), r"served-model-name is what the workflow itself sets"),
        (served(max_num_batched_tokens=64), r"max-num-batched-tokens: 64 is less than max-num-seqs, 128"),
        (served(tensor_parallel_size="two"), r"tensor-parallel-size: two is no number of GPUs"),
        (served(tensor_parallel_size=0), r"tensor-parallel-size: 0 is no number of GPUs"),
        (on_gpus(pipeline_parallel_size=2), r"the parallel sizes make 2 workers.*serving\.gpus is 1"),
        (lambda c: on_gpus()(c) or c["serving"].update(gpus=0), r"serving\.gpus: 0 is too few for the flavour cuda"),
        (lambda c: c["serving"]["environment"].update(VLLM_API_KEY="x"), r"environment: VLLM_API_KEY is what the work"),
        (lambda c: c["serving"]["environment"].update(PYTHONPATH="x"), r"environment: PYTHONPATH is what the workflow"),
    ],
)
def test_settings_that_no_server_can_meet_are_refused(tmp_path, change, message):
    with pytest.raises(AoeError, match=message):
        read(tmp_path, change)


@pytest.mark.parametrize(
    "change",
    [
        asked(max_tokens=640),
        asked(top_k=0, min_p=0.05, repetition_penalty=1.1, presence_penalty=-2, frequency_penalty=2, temperature=0),
        asked(stop=["\n\n"], stop_token_ids=[2], seed=-1),
        served(max_model_len="1k"),
        served(generation_config="vllm"),
        served(generation_config="folder"),
        served(override_generation_config={"top_k": 20}),
        lambda c: served(reasoning_parser="x")(c) or [s.update(force_think=False) for s in c["benchmarks"].values()],
        judged(max_tokens=600),
        judged(endpoint="https://judge.example.org/v1", revision="1"),
        timed(seed=7),
        on_gpus(),
        on_gpus(tensor_parallel_size="1"),
    ],
)
def test_what_a_server_can_meet_is_taken(tmp_path, change):
    read(tmp_path, change)


def test_the_defaults_are_those_of_whoever_asks():
    assert Judge.__dataclass_fields__["max_tokens"].default == VERDICT


# files


@pytest.fixture
def planned(tmp_path):
    """Plans a study with a copy of R1's small files, after changes to its content and to that folder."""
    folder = tmp_path / "r1"
    shutil.copytree(ROOT / "resources/mini/r1", folder, ignore=shutil.ignore_patterns("*.safetensors"))

    def plan(change=lambda content: None):
        study = read(tmp_path, change)
        folders = {name: str(ROOT / "resources/mini" / name) for name in study.models} | {"r1": str(folder)}
        files = {name: {path.name for path in Path(folders[name]).iterdir()} for name in folders}
        locked = {name: SimpleNamespace(files=files[name]) for name in folders}
        check_servable(study, locked, folders)

    plan.folder = folder
    return plan


def edit(path, **changes):
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def test_a_model_as_it_is_can_be_served(planned):
    planned()
    planned(lambda c: [entry.update(force_think=False) for entry in c["benchmarks"].values()])


def test_a_reference_that_cannot_score(planned):
    path = planned.folder / "tokenizer.json"
    assert end_think_id(path) == 6
    whole = json.loads(path.read_text(encoding="utf-8"))
    edit(path, added_tokens=[token for token in whole["added_tokens"] if token["content"] != "</think>"])
    with pytest.raises(AoeError, match=r"r1/tokenizer\.json has no token </think>"):
        planned()
    path.unlink()
    (planned.folder / "tiktoken.model").write_text("x", encoding="utf-8")
    with pytest.raises(AoeError, match=r"r1, which is scores\.reference, has no tokenizer\.json"):
        planned()
    with pytest.raises(AoeError, match="has no tokenizer that vLLM can load"):
        planned(lambda c: c["scores"].update(reference="r1-0528"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (served(tensor_parallel_size=3), "tensor-parallel-size: 3 does not divide the 4 attention heads of r1"),
        (served(max_model_len=2048), r"max-model-len: 2048 is beyond the 1024 tokens that r1 can have"),
        (
            lambda c: served(max_model_len="auto")(c) or asked(max_tokens=1025)(c),
            r"max_tokens: 1025 is beyond the 1024",
        ),
        (timed(**{"max-model-len": 2048}), r"latency\.options\.max-model-len: 2048 is beyond"),
    ],
)
def test_a_config_that_no_server_can_meet(planned, change, message):
    with pytest.raises(AoeError, match=message):
        planned(change)


def test_a_longer_context_can_be_allowed(planned):
    planned(
        lambda c: served(max_model_len=2048)(c) or c["serving"]["environment"].update(VLLM_ALLOW_LONG_MAX_MODEL_LEN="1")
    )
    planned(served(max_model_len=2048, hf_overrides={"max_position_embeddings": 4096}))


def test_a_template_that_changes_the_prompt(planned):
    path, forced, free = (
        planned.folder / "tokenizer_config.json",
        {"dialogue": {}},
        {"dialogue": {"force_think": False}},
    )
    text = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    edit(
        path,
        chat_template=text.replace("'<｜Assistant｜>' + content", "'<｜Assistant｜><think>\n\n</think>\n\n' + content"),
    )
    said = r"r1: the prompt that the chat template .*r1/tokenizer_config\.json makes ends in"
    with pytest.raises(AoeError, match=said):
        check_template("r1", planned.folder, {}, forced)
    planned()  # what needs no answers can go on
    check_template("r1", planned.folder, {}, free)
    check_template("r1", planned.folder, {"chat-template": text}, forced)
    (planned.folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    check_template("r1", planned.folder, {}, forced)
    (planned.folder / "chat_template.jinja").unlink()
    edit(path, chat_template=None)
    with pytest.raises(AoeError, match="r1 has no chat template"):
        check_template("r1", planned.folder, {}, forced)


def test_how_long_a_context_can_be():
    assert longest({}) is None
    assert longest({"max_position_embeddings": 4096}) == 4096
    yarn = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
    assert longest({"max_position_embeddings": 163840, "rope_scaling": yarn}) == 163840
    assert longest({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2}}) == 8192
    assert [tokens(text) for text in (640, "40k", "40K", "25.6k", "auto", -1, None, "")] == [
        *(640, 40_000, 40_960, 25_600),
        *(None, None, None, None),
    ]
