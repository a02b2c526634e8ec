"""Files beside a mixture's weights: whose they are by its recipe, and whether they belong together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aoe.checkpoints.tokens.chat_templates import DEFAULT, Template, chat_templates, ends_of_turn
from aoe.checkpoints.tokens.comparison import SHOWN
from aoe.checkpoints.tokens.vocabulary import CONFIG, GENERATION, Vocabulary

CHOICES = ("config_from", "tokenizer_from", "chat_template_from", "generation_config_from")  # keys of recipes


def chosen(said: Mapping[str, Any]) -> dict[str, str]:
    """Return {"config", "tokenizer", "chat template", "generation config": the parent that a mixture has it from}.

    said: keys of its recipe, ``base`` among them.  A chat template goes with the tokenizer; a generation config with
    the tokenizer, else with the config, as they name the same tokens.
    """
    base = said["base"]
    tokenizer, config = said.get("tokenizer_from"), said.get("config_from")
    return {
        "config": config or base,
        "tokenizer": tokenizer or base,
        "chat template": said.get("chat_template_from") or tokenizer or base,
        "generation config": said.get("generation_config_from") or tokenizer or config or base,
    }


def misfits(tokenizer: Vocabulary, template: Vocabulary, generation: Vocabulary) -> Iterator[str]:
    """Yield sentences on what does not belong together of a tokenizer, a chat template and a generation config.

    They are those of the Vocabularies' models.  A model that never stops, as its template ends turns with another token
    than its generation config, is found by rendering the template, where jinja2 is there.
    """
    known, text = tokenizer.added_ids(), chat_templates(template.folder).get(DEFAULT, "")
    if tokenizer.texts is None:
        return
    lacking = [token for token in template.added_ids() if token in text and token not in known]
    if lacking:
        yield (
            f"The chat template of {template.name} writes {_quoted(lacking)}, which the tokenizer of {tokenizer.name} "
            "does not have as a token; take both from one parent (`tokenizer_from`, `chat_template_from`)."
        )
    stops = generation.ends()
    if generation.texts is not None and generation is not tokenizer:
        moved = [number for number in stops if generation.texts.get(number) != tokenizer.texts.get(number)]
        if moved:
            yield (
                f"The {GENERATION} of {generation.name} stops at {moved[0]}, which is {generation.text(moved[0])} "
                f"there and {tokenizer.text(moved[0])} in the tokenizer of {tokenizer.name}; take both from one parent "
                "(`tokenizer_from`, `generation_config_from`)."
            )
    ends = ends_of_turn(Template("", text, tokenizer.named()), known)
    if text and stops and ends and not {known[token] for token in ends} & {*stops}:
        file = GENERATION if generation.generation is not None else CONFIG
        stopping = ", ".join(f"{number}: {tokenizer.text(number)}" for number in stops[:SHOWN])
        yield (
            f"The chat template of {template.name} ends a turn with {ends[0]!r} ({known[ends[0]]}), at which the "
            f"{file} of {generation.name} does not stop ({stopping}): "
            "the model would talk on; take both from one parent (`chat_template_from`, `generation_config_from`)."
        )


def _quoted(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN:,} more" if len(texts) > SHOWN else ""
    return ", ".join(map(repr, texts[:SHOWN])) + more
