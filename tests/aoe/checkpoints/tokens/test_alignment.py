"""Rows of embeddings are found by their tokens, and read as if they lay in the base's order."""

import itertools
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.tokens.alignment import AlignedCheckpoint, align, in_words, rows_by_token, tensors_of_tokens
from support.clones import ROOT
from support.vocabularies import renumber

MINI = ROOT / "resources/mini"
OF_TOKENS = [
    *("lm_head.weight", "model.embed_tokens.weight", "model.layers.4.embed_tokens.weight"),
    "model.layers.4.shared_head.head.weight",
]


def vocabulary(name, texts):
    """What rows are aligned by, of {id: text}."""
    return SimpleNamespace(name=name, texts=texts, notation="text", text=lambda number: repr(texts.get(number)))


def slowly(ours, theirs, rows, other_rows):
    """{row of the base: row of the other}, by looking through all tokens of the other for every row."""
    found = {}
    for row in range(rows):
        same = [number for number, text in sorted(theirs.items()) if text == ours.get(row)]
        if ours.get(row) == theirs.get(row):
            same = [row]
        if same and same[0] < other_rows:
            found[row] = same[0]
    return found


@pytest.mark.parametrize("seed", range(200))
def test_rows_are_those_of_the_same_text(seed):
    draw = random.Random(seed)
    words, sizes = [f"w{number}" for number in range(12)], [draw.randint(1, 14) for _ in range(4)]
    ours, theirs = ({row: draw.choice(words) for row in range(size) if draw.random() < 0.9} for size in sizes[:2])
    if draw.random() < 0.3:
        theirs = dict(ours)
    runs = rows_by_token(vocabulary("a", ours), vocabulary("b", theirs), *sizes[2:])
    assert {first + i: other + i for first, count, other in runs for i in range(count)} == slowly(
        ours, theirs, *sizes[2:]
    )
    pairs = list(itertools.pairwise(runs))
    assert all(one[0] + one[1] <= two[0] for one, two in pairs)
    assert not [one for one, two in pairs if (one[0] + one[1], one[2] + one[1]) == (two[0], two[2])]


def test_what_is_aligned_is_said():
    one, other = vocabulary("one", {0: "a", 1: "b", 2: "c", 3: "d"}), vocabulary("other", {0: "a", 1: "c", 2: "b"})
    assert in_words(one, one, 5, 5) is None
    assert in_words(one, other, 6, 5) == (
        "Of the 6 rows of the embeddings, 2 are other rows of other, by their token's text, and 2 are one's, as other "
        "lacks 'd'."
    )


@pytest.fixture
def pair(tmp_path):
    """A base, and another model whose tokens have other numbers, with {new id: old id}."""
    order = renumber(MINI / "r1", tmp_path / "r1")
    return Checkpoint(MINI / "v3-0324", "v3-0324"), Checkpoint(tmp_path / "r1", "r1"), order


def test_an_aligned_checkpoint_has_the_bases_rows_at_any_place_of_any_length(pair):
    base, other, _ = pair
    found = align(base, [other])
    assert found.tensors == tensors_of_tokens(base, 122) == OF_TOKENS
    assert found.rows == 128
    seen = found.aligned(base, {"v3-0324": base, "r1": other})
    assert seen["v3-0324"] is base
    original, draw = Checkpoint(MINI / "r1", "r1"), random.Random(1)
    for name in OF_TOKENS:
        assert not torch.equal(other.tensor(name), original.tensor(name))
        assert torch.equal(seen["r1"].tensor(name), original.tensor(name))
        assert seen["r1"].rearranges(name) and not base.rearranges(name)
        whole = original.bytes(name)
        assert seen["r1"].bytes(name) == whole
        for _ in range(50):
            begin = draw.randrange(len(whole))
            size = draw.choice([0, 1, 7, 512, 5000, len(whole)])
            out = np.empty(min(size, len(whole) - begin), np.uint8)
            assert seen["r1"].read(name, begin, out).tobytes() == whole[begin : begin + len(out)]
    name = "model.norm.weight"
    assert seen["r1"].bytes(name) == other.bytes(name) and not seen["r1"].rearranges(name)
    before = other.bytes_read
    seen["r1"].bytes(name)
    assert other.bytes_read > before  # what is read through it is counted


def test_models_with_the_same_tokens_are_left_as_they_are():
    base, other = (Checkpoint(MINI / name, name) for name in ("v3-0324", "r1"))
    assert align(base, [other]) is None


@pytest.mark.parametrize("rows", [160, 122])
def test_embeddings_of_another_size(rows, tmp_path):
    renumber(MINI / "r1", tmp_path / "r1", rows=128)
    folder = tmp_path / "r1"
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name in OF_TOKENS:
            if name in tensors:
                grown = torch.ones((rows, tensors[name].shape[1]), dtype=tensors[name].dtype)
                grown[: min(rows, 128)] = tensors[name][:rows]
                tensors[name] = grown
        save_file(tensors, file)
    base, other, original = Checkpoint(MINI / "v3-0324", "v3-0324"), Checkpoint(folder, "r1"), Checkpoint(MINI / "r1")
    seen = align(base, [other]).aligned(base, {"r1": other})["r1"]
    for name in OF_TOKENS:
        assert seen.stored(name).shape == base.stored(name).shape
        assert seen.stored(name).size == base.stored(name).size
        assert torch.equal(seen.tensor(name)[:122], original.tensor(name)[:122])
        beyond = (base if rows == 122 else original).tensor(name)[122:]
        assert torch.equal(seen.tensor(name)[122:], beyond)


def test_what_cannot_be_aligned_is_refused(pair, tmp_path):
    base, other, _ = pair
    (tmp_path / "r1/tokenizer.json").rename(tmp_path / "kept.json")
    with pytest.raises(AoeError, match=r"r1 has no tokenizer in .* whose tokens can be read"):
        align(base, [other])
    (tmp_path / "kept.json").rename(tmp_path / "r1/tokenizer.json")
    file = tmp_path / "r1" / other.files["lm_head.weight"]
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": tensors["lm_head.weight"].float()}, file)
    with pytest.raises(
        AoeError, match=r"lm_head\.weight cannot be aligned by token: it is BF16 .* F32 \[128, 256\] in"
    ):
        align(base, [Checkpoint(tmp_path / "r1", "r1")])
    with pytest.raises(AoeError, match="no embeddings with a row for each of its 500 tokens"):
        tensors_of_tokens(base, 500)


def test_nothing_is_read_of_the_base_where_the_other_model_has_the_tokens(pair):
    base, other, _ = pair
    runs = align(base, [other]).runs["r1"]
    covered = sum(count for _, count, _ in runs)
    assert covered == 128
    closed = SimpleNamespace(stored=base.stored, read=None)
    seen = AlignedCheckpoint(other, closed, OF_TOKENS, runs)
    assert len(seen.read("lm_head.weight", 0, np.empty(4096, np.uint8))) == 4096


def test_rows_of_tokens_that_are_lacking_are_the_bases(pair, tmp_path):
    base, _, order = pair
    path = tmp_path / "r1/tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    places = {old: new for new, old in order.items()}
    vocabulary_ = content["model"]["vocab"]
    text = next(text for text, number in vocabulary_.items() if number == places[60])
    vocabulary_["another"] = vocabulary_.pop(text)
    path.write_text(json.dumps(content), encoding="utf-8")
    other = Checkpoint(tmp_path / "r1", "r1")
    found = align(base, [other])
    seen, original = found.aligned(base, {"r1": other})["r1"], Checkpoint(MINI / "r1")
    for name in OF_TOKENS:
        expected = original.tensor(name).clone()
        expected[60] = base.tensor(name)[60]
        assert torch.equal(seen.tensor(name), expected)
    assert found.describe()[0].endswith("1 are the base's")
