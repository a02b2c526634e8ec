"""IFEval: prompts with instructions that a program can verify, such as "at least 300 words" [arXiv 2311.07911].

An answer is right if it follows every instruction of its prompt, as the answer stands: *prompt-level strict accuracy*.
The published rules are those of the package if-verifiable.  They read an answer as it is, so that nothing of it is
normalized before.
"""

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from aoe import AoeError
from benchmarks.datasets import read_records
from benchmarks.registry import Benchmark, Question, Ruled, Turn

FIELDS = ("key", "prompt", "instruction_id_list", "kwargs")  # google/IFEval's
LANGUAGE_SEED = 0  # langdetect draws at random; with a seed, the same text is always of the same language


def samples(folder: Path | str, files: Iterable[str]) -> list[Question]:
    """Return one Question a prompt; its metadata has ``instruction_id_list`` and ``kwargs``, a dict an instruction.

    Raises AoeError if the files are not IFEval's.
    """
    found = []
    for record in read_records(folder, files, FIELDS):
        names, given = record["instruction_id_list"], record["kwargs"]
        if not isinstance(names, list) or not isinstance(given, list) or not names or len(names) != len(given):
            raise AoeError(f"IFEval's prompt {record['key']} does not have one dict of `kwargs` for each instruction.")
        # tables on the Hub fill in the keys of all other instructions with nothing
        kwargs = [{key: value for key, value in (one or {}).items() if value} for one in given]
        metadata = {"instruction_id_list": list(names), "kwargs": kwargs}
        found.append(Question(id=str(record["key"]), input=record["prompt"], metadata=metadata))
    return found


def follows_all(turn: Turn) -> bool:
    """Return whether the visible part of an answer follows all instructions of its prompt."""
    return _follows_all(turn.asked[-1], turn.metadata["instruction_id_list"], turn.metadata["kwargs"], turn.shown)


def _follows_all(prompt, names, kwargs, shown):
    from if_verifiable import IFEvalSample, evaluate_output_for_sample

    _sentence_model()
    sample = IFEvalSample(key=0, prompt=prompt, instruction_id_list=names, kwargs=kwargs)
    _, scores = evaluate_output_for_sample("ifeval", sample, shown)
    return scores.binary_strict == 1


def check_question(question: Question) -> None:
    """Raise AoeError for an instruction that has no rule, TypeError or ValueError for ``kwargs`` that do not fit."""
    from if_verifiable.ifeval import INSTRUCTION_DICT

    names, kwargs = question.metadata["instruction_id_list"], question.metadata["kwargs"]
    if unknown := [name for name in names if name not in INSTRUCTION_DICT]:
        raise AoeError(f"IFEval's prompt {question.id} has the instruction {unknown[0]!r}, for which there is no rule.")
    _follows_all(question.input, names, kwargs, "An answer.")


@cache
def _sentence_model() -> tempfile.TemporaryDirectory[str]:
    """Give NLTK its English model of sentences, which it would fetch from the web, and langdetect its seed.

    The folder is deleted when the program ends.
    """
    import langdetect
    import nltk
    from nltk.tokenize.punkt import save_punkt_params
    from punkt.data import load_bundled

    langdetect.DetectorFactory.seed = LANGUAGE_SEED
    folder = tempfile.TemporaryDirectory(prefix="nltk-")
    model = Path(folder.name) / "tokenizers/punkt_tab/english"
    model.parent.mkdir(parents=True)
    nltk.data.path.insert(0, folder.name)
    save_punkt_params(load_bundled("english"), str(model))
    return folder


IFEVAL = Benchmark(
    name="ifeval",
    title="IFEval",
    summary="prompts with instructions that a program verifies; an answer is right if it follows all of them "
    "(prompt-level strict accuracy)",
    questions=lambda settings, dataset: samples(*dataset),
    grading=Ruled(follows_all, check_question),
)
