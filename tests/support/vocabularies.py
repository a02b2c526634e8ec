"""Small tokenizers, written by the libraries that define their files, and models whose tokens have other numbers."""

import base64
import json
import random
import shutil
from functools import cache
from io import BytesIO

import sentencepiece
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Tokens are numbers; numbers are rows of an embedding: größer, naïve, 猫, 犬.",
    "def f(x):\n    return x + 1\n",
] * 4
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


@cache
def byte_level() -> str:
    """The tokenizer.json of a byte-level BPE, as GPT-2, Qwen and DeepSeek have one."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(SPECIAL)
    return made.to_str()


@cache
def sentencepiece_model() -> bytes:
    """A tokenizer.model of BPE with pieces of bytes, as Llama-2 and Mistral have one."""
    written = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=written,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        user_defined_symbols=SPECIAL[2:],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


def write_tokenizer(folder, text, **settings):
    """Put a tokenizer.json, and a tokenizer_config.json that transformers takes, into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    return folder


def write_lists(folder, text):
    """The BPE of a tokenizer.json as vocab.json, merges.txt and added_tokens.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads(text)
    Tokenizer.from_str(text).model.save(str(folder))
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    return folder


def write_ranks(folder, text):
    """The BPE of a tokenizer.json as a file of tiktoken, as Kimi has one; added tokens are in tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content, of_letters = json.loads(text), gpt2_bytes()
    lines = [
        f"{base64.b64encode(bytes(of_letters[letter] for letter in token)).decode()} {number}"
        for token, number in sorted(content["model"]["vocab"].items(), key=lambda entry: entry[1])
    ]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n", encoding="ascii")
    added = {str(token["id"]): {"content": token["content"], "special": True} for token in content["added_tokens"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}), encoding="utf-8")
    return folder


def gpt2_bytes():
    """{letter: byte}, as transformers has it."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def renumbered(text, order):
    """A tokenizer.json whose token i had the number order[i]; order: a permutation of all ids."""
    content, places = json.loads(text), {old: new for new, old in enumerate(order)}
    content["model"]["vocab"] = {token: places[old] for token, old in content["model"]["vocab"].items()}
    for token in content["added_tokens"]:
        token["id"] = places[token["id"]]
    return json.dumps(content)


def renumber(folder, target, seed=0, rows=None):
    """Copy a model of the mini family to ``target`` with its tokens in another order; return {new id: old id}.

    rows: of the embeddings, more than there are tokens: what is added is zeros.
    """
    shutil.copytree(folder, target)
    path = target / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    ids = sorted(Tokenizer.from_str(text).get_vocab().values())
    order = random.Random(seed).sample(ids, len(ids))
    path.write_text(renumbered(text, order), encoding="utf-8")
    places = {old: new for new, old in enumerate(order)}
    for file in target.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if name.endswith(("embed_tokens.weight", "head.weight")):
                size = rows or len(tensor)
                moved = tensor.new_zeros((size, tensor.shape[1]))
                moved[: len(tensor)] = tensor[[*order, *range(len(order), len(tensor))]]
                tensors[name] = moved
        save_file(tensors, file, metadata={"format": "pt"})
    for name in ("config.json", "generation_config.json"):
        content = json.loads((target / name).read_text(encoding="utf-8"))
        content |= {key: places[old] for key, old in content.items() if key.endswith("_token_id") and old is not None}
        content |= {"vocab_size": rows} if rows and "vocab_size" in content else {}
        (target / name).write_text(json.dumps(content), encoding="utf-8")
    return dict(enumerate(order))
