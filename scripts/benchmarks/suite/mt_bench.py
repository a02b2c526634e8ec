"""MT-Bench: 80 two-turn questions in eight categories, graded by a judge [paper, section 4.1].

Questions, reference answers and the judge's prompts are files of the dataset, as LMSYS published them: question.jsonl,
reference_answer/*.jsonl and judge_prompts.jsonl.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aoe import AoeError
from aoe.serving.sampling import DEEPSEEK
from benchmarks.datasets import read_records
from benchmarks.registry import Benchmark, Dataset, Judged, Messages, Question, Turn

CATEGORIES = {  # and their temperatures, as LMSYS asks
    "math": 0.0,
    "reasoning": 0.0,
    "coding": 0.0,
    "extraction": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
    "writing": 0.7,
    "roleplay": 0.7,
}
WITH_REFERENCE = ("math", "reasoning", "coding")
QUESTIONS, PROMPTS, REFERENCES = "question.jsonl", "judge_prompts.jsonl", "reference_answer"


def samples(folder: Path | str, files: Sequence[str]) -> list[Question]:
    """Return one Question a record, whose second turn is its follow-up.

    Its metadata has ``category`` and ``temperature``.  Raises AoeError if the files have no questions.
    """
    found = []
    for record in read_records(folder, _named(files, QUESTIONS), ["question_id", "category", "turns"]):
        turns, category = record["turns"], record["category"]
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise AoeError(f"MT-Bench's question {record['question_id']} has no list of turns.")
        if category not in CATEGORIES:
            raise AoeError(f"MT-Bench's question {record['question_id']} has the unknown category {category!r}.")
        first, *follow_ups = turns
        metadata = {"follow_ups": follow_ups, "category": category, "temperature": CATEGORIES[category]}
        target = [""] * len(record["turns"])  # there is no right answer
        found.append(Question(id=str(record["question_id"]), input=first, target=target, metadata=metadata))
    return found


def _named(files, name):
    return [file for file in files if Path(file).name == name]


@dataclass(frozen=True)
class Judging:
    """The published prompts and reference answers."""

    prompts: dict[str, dict[str, Any]]
    references: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path | str, files: Sequence[str]) -> "Judging":
        """Read both from a dataset's files.  Raises AoeError if a prompt is missing."""
        records = read_records(folder, _named(files, PROMPTS), ["name", "system_prompt", "prompt_template"])
        prompts = {record["name"]: record for record in records}
        for name in ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"):
            if name not in prompts:
                raise AoeError(f"{folder} has no judge prompt {name}.")
        answers = [file for file in files if REFERENCES in Path(file).parts]
        found = read_records(folder, answers, ["question_id", "choices"]) if answers else []
        return cls(prompts, {str(record["question_id"]): _turns(record) for record in found})

    def messages(self, question: str, category: str, turns: Sequence[str], answers: Sequence[str]) -> Messages:
        """Return what the judge is asked about the last of some turns.

        question: its id; turns: the user's words so far; answers: what the model was seen to say.  Raises AoeError if
        the category needs a reference answer that is not there.
        """
        reference = self.references.get(question) if category in WITH_REFERENCE else None
        if category in WITH_REFERENCE and len(reference or []) < len(turns):
            raise AoeError(f"MT-Bench's question {question} ({category}) has no reference answer to every turn.")
        name = ("single-math-v1" if reference else "single-v1") + ("-multi-turn" if len(turns) > 1 else "")
        prompt = self.prompts[name]
        if len(turns) == 1:
            values = {"question": turns[0], "answer": answers[0]}
        else:
            values = {f"question_{i}": turn for i, turn in enumerate(turns, 1)}
            values |= {f"answer_{i}": answer for i, answer in enumerate(answers, 1)}
        values |= {f"ref_answer_{i}": answer for i, answer in enumerate(reference or [], 1)}
        try:
            filled = prompt["prompt_template"].format(**values)
        except (KeyError, IndexError, ValueError) as error:
            told = f"MT-Bench's judge prompt {name} cannot be filled in for question {question}"
            raise AoeError(f"{told} ({type(error).__name__}: {error}).") from error
        return [{"role": "system", "content": prompt["system_prompt"]}, {"role": "user", "content": filled}]


def prompts(dataset: Dataset) -> Callable[[Turn], Messages]:
    """Return the function that gives the judge's messages about a Turn.  Raises AoeError if a prompt is missing."""
    judging = Judging.read(*dataset)
    return lambda turn: judging.messages(turn.question, turn.metadata["category"], turn.asked, turn.answered)


def _turns(record):
    """A reference answer's turns."""
    try:
        return record["choices"][0]["turns"]
    except (KeyError, IndexError, TypeError):
        raise AoeError(f"MT-Bench's reference answer {record['question_id']} has no turns in its `choices`.") from None


MT_BENCH = Benchmark(
    name="mt_bench",
    title="MT-Bench",
    summary="two-turn questions in eight categories; a [judge](#judge) rates answers from 1 to 10, and a tenth of the "
    "rating is the grade",
    questions=lambda settings, dataset: samples(*dataset),
    grading=Judged(prompts),
    turns=2,
    sampling=DEEPSEEK | {"temperature": None},  # each category has its own
    short_title="MT-\nBench",
)
