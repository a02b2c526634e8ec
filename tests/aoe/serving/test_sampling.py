"""What answers are sampled with: the study's keys, neutral values for all else, and the tokens that end an answer."""

import json

import pytest
from aoe import AoeError
from aoe.serving.sampling import BY_CATEGORY, NEUTRAL, end_ids, sampled_with, with_ends
from support.served import MINI_FOLDERS
from support.vocabularies import renumber


def test_what_the_study_does_not_state_is_neutral():
    found = sampled_with("aime2024", {"seed": 1, "dataset": "d"}, {})
    assert found == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768, **NEUTRAL}
    assert sampled_with("mt_bench", {}, {})["temperature"] == BY_CATEGORY
    assert sampled_with("arithmetic", {}, {})["max_tokens"] == 256


@pytest.mark.parametrize("written", [{"top_k": 20, "min_p": 0.1}, '{"top_k": 20, "min_p": 0.1}'])
def test_what_the_study_states_goes_before_what_its_server_is_told(written):
    found = sampled_with("arithmetic", {"top_k": 5}, {"override-generation-config": written})
    assert (found["top_k"], found["min_p"], found["repetition_penalty"]) == (5, 0.1, 1.0)


def test_answers_end_where_those_of_any_model_do(tmp_path):
    files = []
    for number, ids in enumerate([2, [2, 7], None, []]):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps({"eos_token_id": ids, "top_k": 1}), encoding="utf-8")
    assert end_ids(files) == [2, 7]
    assert with_ends({"seed": 1}, [2, 7]) == {"seed": 1, "stop_token_ids": [2, 7]}
    assert with_ends({"stop_token_ids": [9, 2]}, [2, 7]) == {"stop_token_ids": [2, 7, 9]}
    assert with_ends({"seed": 1}, []) == {"seed": 1}


def test_the_ends_of_a_model_with_other_numbers_are_looked_up_by_their_text(tmp_path):
    folders = [MINI_FOLDERS["r1"], tmp_path / "odd"]
    places = {old: new for new, old in renumber(*folders).items()}
    files = [folder / "generation_config.json" for folder in folders]
    assert end_ids(files) == sorted([2, places[2]])
    assert end_ids(files, folders[0]) == [2]
    assert end_ids(files, folders[1]) == [places[2]]
    (tmp_path / "odd/tokenizer.json").unlink()
    assert end_ids(files, folders[1]) == sorted([2, places[2]])  # nothing is known of its tokens


@pytest.mark.parametrize("content", ['{"eos_token_id": "</s>"}', '{"eos_token_id": [true]}', "[]", "{"])
def test_what_is_no_token_id_is_refused(tmp_path, content):
    (tmp_path / "generation_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(AoeError, match=r"generation_config\.json"):
        end_ids([tmp_path / "generation_config.json"])
