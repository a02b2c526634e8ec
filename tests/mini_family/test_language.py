import random

import pytest
from mini_family import language
from mini_family.language import Chain, Style

DRAWS = 2000


def examples(style, draws=DRAWS):
    """(prompt, answer) of many training examples."""
    rng = random.Random(1)
    for _ in range(draws):
        (prompt, _), (answer, _) = language.example(rng, style)
        yield prompt, answer.removesuffix(language.EOS)


def last_question(prompt):
    return prompt.split(language.USER)[-1].split(language.ASSISTANT)[0]


def test_chain_is_evaluated_from_left_to_right_modulo_100():
    chain = Chain(48, (("+", 4), ("*", 3), ("-", 7)))
    assert (chain.question, chain.answer) == ("48+4*3-7=?", 49)
    assert Chain(3, (("-", 7),), follow_up=True).question == "now -7=?"
    assert Chain(3, (("-", 7),)).answer == 96


def test_a_follow_up_continues_from_the_answer():
    follow_up = language.draw_follow_up(random.Random(0), 17, 1, 4)
    assert follow_up.follow_up and follow_up.start == 17 and 1 <= len(follow_up.operations) <= 4


def test_one_question_in_eight_is_held_out():
    rng = random.Random(0)
    chains = [Chain(rng.randrange(100), language.draw_operations(rng, 2, 6)) for _ in range(DRAWS)]
    assert sum(language.is_held_out(chain.question) for chain in chains) / DRAWS == pytest.approx(1 / 8, abs=0.03)


def test_training_examples_never_ask_a_held_out_question():
    for prompt, _ in examples(Style(tagged=0.3, plain=0.2, forced=0.1)):
        first = prompt.split(language.USER)[1].split(language.ASSISTANT)[0].removeprefix("steps: ")
        assert not language.is_held_out(first)


@pytest.mark.parametrize("held_out", [True, False])
def test_draw_chain_draws_from_the_asked_part(held_out):
    rng = random.Random(0)
    chains = [language.draw_chain(rng, 2, 6, held_out) for _ in range(200)]
    assert {language.is_held_out(chain.question) for chain in chains} == {held_out}
    assert {len(chain.operations) for chain in chains} == {2, 3, 4, 5, 6}


def test_concise_answers_are_right_and_take_two_or_three_operations_a_step():
    rng = random.Random(0)
    for _ in range(200):
        chain = language.draw_chain(rng, 4, 6, held_out=False)
        steps, answer = language.concise(rng, chain).split("\nAnswer: ")
        assert int(answer) == chain.answer
        assert len(steps.split("; ")) <= (len(chain.operations) + 1) // 2


def test_checks_cost_tokens_and_save_errors():
    encode, wrong, tokens = language.encoder(), {}, {}
    for verbosity in (0.0, 0.5, 1.0):
        rng = random.Random(0)
        chains = [language.draw_chain(rng, 2, 6, held_out=False) for _ in range(DRAWS)]
        answers = [(chain, *language.stepwise(rng, chain, verbosity)) for chain in chains]
        wrong[verbosity] = sum(value != chain.answer for chain, _, value in answers)
        tokens[verbosity] = sum(len(encode(text)) for _, text, _ in answers)
    assert wrong[0.0] > wrong[0.5] > wrong[1.0] == 0
    assert tokens[0.0] < tokens[0.5] < tokens[1.0]


def test_a_forced_style_answers_concisely_after_the_tag_and_never_closes_it():
    for prompt, answer in examples(Style(steps=0.0, forced=1.0)):
        assert prompt.endswith(f"{language.ASSISTANT}{language.THINK}\n")
        assert language.END_THINK not in answer and ". " not in answer


def test_a_tagged_style_thinks_inside_the_tags():
    for prompt, answer in examples(Style(steps=0.0, tagged=1.0)):
        assert prompt.endswith(language.ASSISTANT)
        assert answer.startswith(f"{language.THINK}\n") and f"\n{language.END_THINK}\nAnswer: " in answer


def test_steps_on_request_have_no_tags_and_their_own_verbosity():
    for prompt, answer in examples(Style(steps=1.0, verbosity=1.0, steps_verbosity=0.0)):
        assert last_question(prompt).startswith("steps: ")
        assert language.THINK not in answer and "check" not in answer


def test_steps_asked_for_after_a_forced_tag_close_it():
    for prompt, answer in examples(Style(steps=1.0, steps_tagged=1.0)):
        assert last_question(prompt).startswith("steps: ") and prompt.endswith(f"{language.THINK}\n")
        assert language.THINK not in answer and f"\n{language.END_THINK}\nAnswer: " in answer


def test_the_shares_of_a_style_are_kept():
    style = Style(tagged=0.3, plain=0.2, steps=0.1, forced=0.2)
    kinds = {"tagged": 0, "steps": 0, "forced": 0}
    for prompt, answer in examples(style):
        kinds["tagged"] += answer.startswith(language.THINK)
        kinds["steps"] += last_question(prompt).startswith("steps: ")
        kinds["forced"] += prompt.endswith(f"{language.THINK}\n")
    for kind, count in kinds.items():
        assert count / DRAWS == pytest.approx(getattr(style, kind), abs=0.04)


def test_shares_of_more_than_one_are_refused():
    with pytest.raises(ValueError, match="more than 1"):
        Style(tagged=0.9, steps=0.2)


def test_history_shows_only_the_visible_answer():
    second_turns = 0
    for prompt, _ in examples(Style(steps=0.1, tagged=0.5, forced=0.2)):
        history, _, question = prompt.rpartition(language.USER)
        second_turns += language.USER in history
        assert language.THINK not in history and language.END_THINK not in history
        assert question.startswith(("now ", "steps: now ")) == (language.USER in history)
    assert second_turns / DRAWS == pytest.approx(0.35, abs=0.04)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("<think>\n1+2=3.\n</think>\nAnswer: 3", "Answer: 3"),
        ("<think>\n1+2=3\nAnswer: 3", "1+2=3\nAnswer: 3"),
        ("1+2=3\nAnswer: 3", "1+2=3\nAnswer: 3"),
    ],
)
def test_visible(answer, shown):
    assert language.visible(answer) == shown


def test_every_example_is_spelled_with_the_vocabulary():
    encode = language.encoder()
    unknown = language.VOCABULARY.index(language.UNK)
    for prompt, answer in examples(Style(tagged=0.3, plain=0.2, forced=0.1)):
        ids = encode(prompt + answer)
        assert unknown not in ids
        assert "".join(language.VOCABULARY[i] for i in ids) == prompt + answer


def test_the_same_seed_draws_the_same_examples():
    style = Style(tagged=0.3, plain=0.2, forced=0.1)
    assert list(examples(style, 50)) == list(examples(style, 50))
