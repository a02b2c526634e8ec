"""What a study costs: counted by hand for the mini family and for the paper."""

import json

import pytest
from aoe import AoeError
from aoe.acquiring.expected import NOT_HASHED, expected_lock
from aoe.acquiring.lock import holdings, read_lock
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.inventory import count_parameters, expected_files, inventory, write_sparse_checkpoint
from aoe.studies.cost import estimate
from aoe.studies.study import read_study
from launcher.schemas import read_schema
from support.clones import ROOT

SCHEMA = read_schema("study")
DEEPSEEK = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))


def study(name):
    return read_study(name, ROOT / "config/studies", SCHEMA)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_paper():
    paper = study("paper")
    cost = estimate(paper, expected_lock(paper))
    models = [size for name, size in cost.fetched.items() if name in paper.models]
    assert len(models) == 5 and all(688.5e9 < size < 688.7e9 for size in models)  # the Hub says 689 GB
    assert cost.exported.keys() == {"r1t", "r1t2"}
    assert cost.answers == {
        "mt_bench": 160,
        "aime2024": 120,
        "aime2025": 120,
        "gpqa_diamond": 198,
        "bigcodebench": 1140,
    }
    tokens = 55 * (160 * 1500 + 120 * 12000 + 120 * 12000 + 198 * 8000 + 1140 * 3000 + 160 * 500)
    assert cost.variants == 55 and cost.tokens == tokens
    assert cost.gpu_hours(cost.tokens) == pytest.approx(8 * (56 / 3 + tokens / 2500 / 3600))
    assert cost.disk == pytest.approx(7 * 688.6e9, rel=0.001)
    assert cost.most_tokens > 4 * cost.tokens


def test_a_study_that_assumes_nothing_has_no_hours():
    mini = study("mini")
    locked = read_lock(mini.content["lock"], {"models": mini.models, "datasets": mini.datasets})
    cost = estimate(mini, locked)
    assert cost.fetched == {} and cost.answers == {"arithmetic": 256, "dialogue": 256}
    assert cost.tokens is None and cost.gpu_hours(cost.tokens) is None
    assert ("GPU hours", None, "h") in cost.rows()
    assert 7e6 < cost.exported["r1t"] < 9e6


def test_an_answer_counts_as_often_as_it_is_asked():
    mini = study("mini")
    mini.content["benchmarks"]["arithmetic"]["answers"] = 3
    mini.content["cost"] = {"tokens": {"arithmetic": 10, "dialogue": 20}, "tokens_per_second": 100, "start_minutes": 1}
    locked = read_lock(mini.content["lock"], {"models": mini.models, "datasets": mini.datasets})
    cost = estimate(mini, locked)
    assert cost.tokens == len(mini.variants) * (256 * 3 * 10 + 128 * 2 * 20)
    assert cost.gpu_hours(cost.tokens) == 0  # on CPUs


def test_expected_files_are_those_of_a_checkpoint(tmp_path):
    """Sizes and holdings, of a smaller DeepSeek-V3."""
    config = {**DEEPSEEK, "num_hidden_layers": 5, "n_routed_experts": 8, "hidden_size": 256}
    write_sparse_checkpoint(config, tmp_path, shards=4)
    expected = expected_files(config, 4)
    assert {f: facts["size"] for f, facts in expected.items()} == {f: (tmp_path / f).stat().st_size for f in expected}
    assert {file: facts["holds"] for file, facts in expected.items()} == holdings(Checkpoint(tmp_path, "v3"))


def test_qwen3_has_its_number_of_parameters():
    config = json.loads((ROOT / "resources/qwen3-30b-a3b/config.json").read_text(encoding="utf-8"))
    assert count_parameters(config).total == 30_532_122_624  # as the Hub states it
    assert len(inventory(config)) == 18_867


def test_scales_that_are_not_read_are_told_before_anything_is_fetched():
    qwen = study("qwen3-fp8")
    sentence = r"^models\.instruct: its FP8 weights are expected to have scales in BF16 .* only with scales in F32"
    with pytest.raises(AoeError, match=sentence):
        expected_lock(qwen)
    for model in qwen.models.values():
        model["expected"] = {key: value for key, value in model["expected"].items() if key != "scales"}
    locked = expected_lock(qwen)["thinking"]
    assert len(locked.shards) == 4 and 31.1e9 < locked.size(locked.shards) < 31.3e9  # 31.2 GB on the Hub


def test_what_is_expected_is_never_taken_for_locked():
    locked = expected_lock(study("qwen3"))
    assert {facts["sha256"] for entry in locked.values() for facts in entry.files.values()} == {NOT_HASHED}
    assert locked["instruct"].revision.startswith("Qwen/Qwen3-30B-A3B-Instruct-2507@0d7cf239")


def test_without_expectations_there_has_to_be_a_lock():
    paper = study("paper")
    del paper.models["r1"]["expected"]
    with pytest.raises(AoeError, match=r"no lock file config/studies/paper\.lock\.json.*what to expect of r1"):
        expected_lock(paper)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is no config of a model"),
        ("{", "cannot be read"),
        ({**DEEPSEEK, "hidden_size": "2048"}, "no dimension|which are none"),
        ({**DEEPSEEK, "hidden_size": 0}, "which are none"),
        ({k: v for k, v in DEEPSEEK.items() if k != "hidden_size"}, "lacks 'hidden_size'"),
        ({**DEEPSEEK, "model_type": "gpt2"}, "No inventory is known of the architecture .gpt2."),
        ({**DEEPSEEK, "model_type": "mixtral"}, "No inventory is known"),
    ],
)
def test_what_is_expected_of_a_model_has_to_be_a_config(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    paper = study("paper")
    paper.models["r1"]["expected"] = {"config": str(path), "shards": 163}
    with pytest.raises(AoeError, match=message):
        expected_lock(paper)


def test_more_shards_than_tensors_are_not_expected():
    paper = study("paper")
    paper.models["r1"]["expected"]["shards"] = 100_000
    with pytest.raises(AoeError, match="91991 tensors are not enough for 100000 shards"):
        expected_lock(paper)


def test_an_expected_file_stays_in_its_folder():
    paper = study("paper")
    paper.datasets["gpqa"]["expected"] = {"../gpqa.csv": 1}
    with pytest.raises(AoeError, match=r"'\.\./gpqa\.csv', which does not lie in the model's folder"):
        expected_lock(paper)
