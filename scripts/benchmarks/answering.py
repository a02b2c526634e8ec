"""How every benchmark asks: one or more turns, each answer begun with a forced opening such as ``<think>``.

The paper enforces a leading ``<think>`` and counts the closing tags [paper, section 3.3].  Here the opening is the
start of an assistant message that the server continues, and tags are counted by token id, not by text.
"""

import zlib

from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.solver import solver
from benchmarks.endpoint import RETURN_TOKEN_IDS

END_THINK = "</think>"
RETRIES = 3  # of a request: enough for a hiccup, few enough to notice soon that the server is dead
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}


def sampling(opening, *, temperature, top_p, max_tokens):
    """The GenerateConfig of a benchmark, whose every answer begins with ``opening``."""
    return GenerateConfig(
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        max_retries=RETRIES,
        extra_body=RETURN_TOKEN_IDS | (CONTINUE if opening else {}),
    )


@solver
def answer_turns(opening, seed):
    """Ask the sample's input and then its metadata's ``follow_ups``; keep every raw answer in the store, ``answers``.

    Each answer is sampled with its own seed, made from ``seed``, the sample's id and the turn, so that an answer
    depends neither on the order of the requests nor on the other questions.
    """

    async def solve(state, generate):
        answers = []
        for turn, question in enumerate([None, *state.metadata.get("follow_ups", [])]):
            if question is not None:
                state.messages.append(ChatMessageUser(content=question))
            if opening:
                state.messages.append(ChatMessageAssistant(content=opening))
            answer_seed = zlib.crc32(f"{seed}/{state.sample_id}/{turn}".encode()) & 0x7FFFFFFF
            state = await generate(state, seed=answer_seed)
            choice = state.output.choices[0]
            answers.append(
                {
                    "text": opening + choice.message.text,
                    "token_ids": choice.message.metadata["token_ids"],
                    "finish": choice.stop_reason,
                    "seconds": state.output.time,
                }
            )
            # the conversation goes on with what a reader was shown, not with the reasoning before it
            del state.messages[-2 if opening else -1 :]
            state.messages.append(ChatMessageAssistant(content=visible(answers[-1]["text"], opening)))
        state.store.set("answers", answers)
        return state

    return solve


def visible(text, opening=""):
    """What a reader is shown of an answer: the text after the last closing tag, or, without it, all but the opening."""
    return text.rsplit(END_THINK, 1)[-1].removeprefix(opening).strip()
