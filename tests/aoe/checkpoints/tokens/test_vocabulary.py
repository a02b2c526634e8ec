"""Vocabularies are read, and compared, from whatever files tokenizers are stored in."""

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer
from aoe.checkpoints.tokens.alignment import rows_by_token
from aoe.checkpoints.tokens.comparison import comparable, compare
from aoe.checkpoints.tokens.pieces import BYTE, NORMAL, read_pieces
from aoe.checkpoints.tokens.vocabulary import Vocabulary
from support.vocabularies import (
    SPECIAL,
    byte_level,
    renumbered,
    sentencepiece_model,
    write_lists,
    write_ranks,
    write_tokenizer,
)

WRITERS = {"tokenizer.json": write_tokenizer, "lists": write_lists, "ranks": write_ranks}


def swapped(text, one, other):
    """A tokenizer.json in which two ids have each other's text."""
    order = list(range(len(json.loads(text)["model"]["vocab"]) + len(SPECIAL)))
    order[one], order[other] = other, one
    return renumbered(text, order)


@pytest.mark.parametrize("other", WRITERS)
@pytest.mark.parametrize("one", WRITERS)
def test_one_vocabulary_is_the_same_in_every_kind_of_file(one, other, tmp_path):
    made = Vocabulary(WRITERS[one](tmp_path / "one", byte_level()), "one")
    same = Vocabulary(WRITERS[other](tmp_path / "same", byte_level()), "same")
    wrong, _ = compare(made, same)
    assert wrong is None
    assert made.meanings() == same.meanings() and len(made.meanings()) > 300
    moved = Vocabulary(WRITERS[other](tmp_path / "moved", swapped(byte_level(), 70, 300)), "moved")
    wrong, _ = compare(made, moved)
    assert wrong.startswith("The tokenizers of one and moved give 2 ids another meaning: 70 is ")


def test_meanings_are_what_the_tokenizer_decodes(tmp_path):
    folder = write_tokenizer(tmp_path, byte_level())
    tokenizer, found = AutoTokenizer.from_pretrained(folder), Vocabulary(folder, "one")
    whole = {number: token.decode() for number, token in found.meanings().items() if _is_text(token)}
    assert len(whole) > 150
    assert {number: tokenizer.decode([number]) for number in whole} == whole
    assert found.added_ids() == {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}


def _is_text(token):
    try:
        return bool(token.decode())
    except UnicodeDecodeError:
        return False


def test_pieces_are_those_that_sentencepiece_reads():
    model = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    found = read_pieces(sentencepiece_model())
    assert [text for text, _ in found] == [model.id_to_piece(number) for number in range(model.get_piece_size())]
    for number, (_, kind) in enumerate(found):
        special = model.is_unknown(number) or model.is_control(number) or model.is_unused(number)
        assert (kind == BYTE) == model.is_byte(number)
        assert (kind == NORMAL) <= (not special and not model.is_byte(number))


@pytest.mark.parametrize(
    "broken", [b"", b"\x0a", b"\x0a\x05ab", b"YQ== 0\nYg== 1\n", b"\x0a\x02\x08\x01", b"\xff" * 20]
)
def test_what_is_no_sentencepiece_model_is_left_alone(broken, tmp_path):
    with pytest.raises(ValueError):
        read_pieces(broken)
    (tmp_path / "tokenizer.model").write_bytes(broken)
    assert Vocabulary(tmp_path, "odd").texts is None


def test_a_sentencepiece_model_is_the_same_as_the_tokenizer_json_that_transformers_makes_of_it(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/tokenizer.model").write_bytes(sentencepiece_model())
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "one/tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    AutoTokenizer.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "other")
    one, other = Vocabulary(tmp_path / "one", "one"), Vocabulary(tmp_path / "other", "other")
    assert other.folder.joinpath("tokenizer.json").is_file() and one.texts
    assert compare(one, other)[0] is None
    changed = sentencepiece_model().replace("▁the".encode(), "▁thf".encode(), 1)
    (tmp_path / "one/tokenizer.model").write_bytes(changed)
    assert "'▁thf' in one, '▁the' in other" in compare(Vocabulary(tmp_path / "one", "one"), other)[0]


def test_spaces_and_letters_of_bytes_are_one_text(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/tokenizer.model").write_bytes(sentencepiece_model())
    one = Vocabulary(tmp_path / "one", "one")
    other = Vocabulary(write_tokenizer(tmp_path / "other", byte_level()), "other")
    ours, theirs = comparable(one, other)
    shared = set(ours.values()) & set(theirs.values())
    assert {b" the", b" ", b"\n", b"\xf0"} <= shared
    assert len(shared) > 200
    assert ours[one.added_ids()["<|im_end|>"]] == b"<|im_end|>"


def test_added_tokens_that_are_treated_differently_are_said(tmp_path):
    content = json.loads(byte_level())
    content["added_tokens"][2]["special"] = False
    one = Vocabulary(write_tokenizer(tmp_path / "one", byte_level()), "one")
    other = Vocabulary(write_tokenizer(tmp_path / "other", json.dumps(content)), "other")
    assert compare(one, other) == (
        None,
        [
            "The tokenizers of one and other treat 1 added token differently: '<|im_start|>' is special in one, "
            "plain in other."
        ],
    )


def mistral(folder, name, file):
    """A folder with a tokenizer that Mistral publishes with its library."""
    data = Path(pytest.importorskip("mistral_common").__file__).parent / "data"
    (folder / file).parent.mkdir(exist_ok=True)
    shutil.copyfile(data / name, folder / file)
    return Vocabulary((folder / file).parent, file.split("/")[0])


def test_tekken_is_read_as_mistrals_own_library_does(tmp_path):
    pytest.importorskip("mistral_common")
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    found = mistral(tmp_path, "tekken_240911.json", "one/tekken.json")
    own = Tekkenizer.from_file(tmp_path / "one/tekken.json")
    assert max(found.texts) + 1 == own.n_words
    meanings, special = found.meanings(), own.num_special_tokens
    numbers = range(special, own.n_words, 97)
    assert {n: meanings[n] for n in numbers} == {n: own.id_to_byte_piece(n, SpecialTokenPolicy.KEEP) for n in numbers}
    assert {n: text for text, n in found.added_ids().items()} == {
        n: own.id_to_piece(n) for n in sorted(found.added) if n < special
    }
    moved = mistral(tmp_path, "tekken_240718.json", "other/tekken.json")
    content = json.loads((tmp_path / "other/tekken.json").read_text(encoding="utf-8"))
    content["vocab"][300]["token_bytes"], content["vocab"][301]["token_bytes"] = (
        content["vocab"][number]["token_bytes"] for number in (301, 300)
    )
    (tmp_path / "other/tekken.json").write_text(json.dumps(content), encoding="utf-8")
    assert "give 2 ids another meaning: 1300 is " in compare(found, moved)[0]


def test_two_generations_of_a_published_tokenizer(tmp_path):
    """Mistral's third version has 768 control tokens before the tokens of the first."""
    first = mistral(tmp_path, "tokenizer.model.v1", "first/tokenizer.model")
    third = mistral(tmp_path, "mistral_instruct_tokenizer_240323.model.v3", "third/tokenizer.model")
    assert "give 32,76" in compare(third, first)[0]
    runs = rows_by_token(third, first, 32768, 32000)
    assert sum(count for _, count, _ in runs) == 32000
    assert [begin - theirs for begin, count, theirs in runs if count > 1000] == [768]
    assert {(1, 1), (2, 2)} <= {(begin + i, theirs + i) for begin, count, theirs in runs for i in range(count)}


def test_a_list_of_words_is_read(tmp_path):
    for name, words in (("one", "[PAD]\nthe\n##s\n"), ("other", "[PAD]\n##s\nthe\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text(words, encoding="utf-8")
    one, other = (Vocabulary(tmp_path / name, name) for name in ("one", "other"))
    assert one.texts == {0: "[PAD]", 1: "the", 2: "##s"}
    assert "1 is 'the' in one, '##s' in other" in compare(one, other)[0]


@pytest.mark.parametrize("file", ["spiece.model", "tokenizer.model"])
def test_what_cannot_be_compared_is_said(file, tmp_path):
    one = write_tokenizer(tmp_path / "one", byte_level())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / file).write_text("another kind", encoding="utf-8")
    wrong, (told, *_) = compare(Vocabulary(one, "one"), Vocabulary(tmp_path / "other", "other"))
    assert wrong is None
    assert told.startswith(f"The tokenizers of one and other cannot be compared: {file} is there in one of them only")


def test_merges_are_compared_without_a_tokenizer_json_too(tmp_path):
    one, other = (write_lists(tmp_path / name, byte_level()) for name in ("one", "other"))
    lines = (other / "merges.txt").read_text(encoding="utf-8").splitlines()
    (other / "merges.txt").write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]), encoding="utf-8")
    assert compare(Vocabulary(one, "one"), Vocabulary(other, "other")) == (
        None,
        ["The tokenizers of one and other split text differently: their merges differs."],
    )
