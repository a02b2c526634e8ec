"""Claims: those that are listed make sense, and verdicts are what small, hand-made results say."""

import json
import math
import re

import pandas as pd
import pytest
import yaml
from aoe import AoeError
from aoe.claims import NOT_REPRODUCED, NOT_RUN, REPRODUCED
from aoe.claims.evaluation import COLUMNS, evaluate, judge, measure, read_claims
from aoe.claims.evidence import Evidence, NotRunError
from aoe.claims.published import annotations_of, condition, curves_of, first_source, limits
from aoe.claims.quantities import QUANTITIES
from aoe.files.schema import check_schema
from aoe.scores.statistics import Estimate, fit_share
from launcher.schemas import read_schema
from support.clones import ROOT

CONTENT = yaml.safe_load((ROOT / "config/claims.yaml").read_text(encoding="utf-8"))
SCHEMA = read_schema("claims")
ARCHITECTURE = json.loads((ROOT / "resources/deepseek-v3/config.json").read_text(encoding="utf-8"))
RULES = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "rules").glob("*.smk"))


@pytest.mark.parametrize("name", CONTENT["claims"])
def test_a_listed_claim_is_complete(name):
    claim = read_claims(CONTENT)[name]
    assert claim["says"].endswith(".")
    if "untestable" in claim:
        return
    if claim["rule"] != "make bench":
        assert re.search(rf"^rule {claim['rule']}:$", RULES, re.MULTILINE), f"no rule {claim['rule']}"
    for mark in claim.get("mark", {}).values():  # figures show what the claim says
        assert mark in [claim.get("about"), *(claim["quantity"].get(key) for key in ("up_to", "share_above", "points"))]


def test_the_file_has_the_form_that_the_schema_says():
    check_schema(CONTENT, SCHEMA, "claims.yaml")


def test_the_first_claims_of_the_design_are_among_them():
    published = {str(claim.get("published")) for claim in CONTENT["claims"].values()}
    assert {"91,991", "671 B", "37 B", "8", "256", "0.504", "0.544", "0.6", "2 ×", "> 1.2 ×"} <= published
    used = {next(iter(claim["quantity"])) for claim in CONTENT["claims"].values() if "quantity" in claim}
    assert used == QUANTITIES.keys()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "paper; hearsay"}, "has the source 'hearsay'"),
        ({"quantity": {"beauty": "r1t"}}, "no known quantity, but 'beauty'"),
        ({"quantity": {"level": "r1t"}}, "does not say what level needs: missing a required argument: 'measure'"),
        ({"quantity": {"level": "r1t", "measure": "cost", "colour": 1}}, "unexpected keyword argument 'colour'"),
        ({"only_for": ["gpt"]}, "only for 'gpt'"),
    ],
)
def test_a_claim_without_sense_is_refused(change, sentence):
    odd = CONTENT | {"claims": {"odd": CONTENT["claims"]["tensors"] | change}}
    check_schema(odd, SCHEMA, "claims.yaml")
    with pytest.raises(AoeError, match=f"The claim odd .*{sentence}"):
        read_claims(odd)


@pytest.mark.parametrize(
    "change",
    [
        {"about": "0.5"},
        {"about": None},
        {"at_least": 1},
        {"within": -0.1},
        {"abuot": 1},
        {"quantity": "level"},
        {"quantity": {}},
        {"says": None},
        {"only_for": "r1"},
        {"mark": {"figure6": "a"}},
        {"mark": {"figure6": []}},
        {"mark": {"figure6": [[0.5]]}},
        {"untestable": "both"},
    ],
    ids=str,
)
def test_a_claim_of_another_form_is_refused_by_its_place(change):
    odd = CONTENT | {"claims": {"odd": CONTENT["claims"]["tensors"] | change}}
    with pytest.raises(AoeError, match=r"^claims\.yaml: at claims\.odd"):
        check_schema(odd, SCHEMA, "claims.yaml")
    for content in (None, [], {}, CONTENT | {"claims": None}, {"claims": CONTENT["claims"]}):
        with pytest.raises(AoeError, match=r"^claims\.yaml: at "):
            check_schema(content, SCHEMA, "claims.yaml")


def test_a_measure_that_there_is_not_is_named(results):
    with pytest.raises(AoeError, match="level names 'beauty'"):
        measure({"quantity": {"level": "r1", "measure": "beauty"}}, results, {})


@pytest.mark.parametrize(
    ("claim", "found", "verdict", "open_"),
    [
        ({"about": 0.6, "within": 0.05}, Estimate(0.55, 0.551, 0.6), REPRODUCED, False),
        ({"about": 0.6, "within": 0.05}, Estimate(0.66, 0.64, 0.68), NOT_REPRODUCED, True),
        ({"about": 91991}, Estimate(91991.0, math.nan, math.nan), REPRODUCED, False),
        ({"at_least": 0.98}, Estimate(0.97, 0.96, 0.975), NOT_REPRODUCED, False),
        ({"at_least": 0.98}, Estimate(0.99, 0.97, 1.0), REPRODUCED, True),
        ({"at_most": -1}, Estimate(-0.5, -0.9, 0), NOT_REPRODUCED, False),
        ({"at_most": -1}, Estimate(-1.0, -2.0, -1.0), REPRODUCED, False),
    ],
)
def test_the_value_decides_and_the_interval_is_noted(claim, found, verdict, open_):
    assert judge(claim, found)[0] == verdict
    assert bool(judge(claim, found)[1]) == open_


def test_conditions_in_words():
    assert condition({"about": 0.504, "within": 0.02}) == "0.504 ± 0.02"
    assert condition({"about": 91991}) == "91,991"
    assert (condition({"at_least": 1.2}), condition({"at_most": -1})) == ("≥ 1.2", "≤ −1")
    assert limits({"about": 0.6, "within": 0.05}) == (0.55, 0.65)


def test_what_figures_show_as_published():
    assert annotations_of(CONTENT, "figure6") == [(0.504, "paper"), (0.544, "article")]
    assert annotations_of(CONTENT, "figure2") == []
    assert first_source({"source": "article"}) == "article"


QWEN = {role: repo for role, repo in CONTENT["published_models"].items() if repo.startswith("Qwen/")}


def test_a_published_curve_is_shown_by_studies_of_its_models_only():
    names = {"full": "mine", "thinking": "long"}
    own = {"instruct": QWEN["instruct"], "long": QWEN["thinking"]}
    (curve,) = curves_of(CONTENT, "figure6", names, own)
    assert (curve["sweep"], curve["whose"]) == ("mine", "Wu") and [0.6, 0.773] in curve["points"]
    assert curves_of(CONTENT, "figure6", names, own | {"long": QWEN["thinking-fp8"]}) == []
    assert curves_of(CONTENT, "figure6", {}, {}) == [] == curves_of(CONTENT, "figure4", names, own)


QUESTIONS = {"aime2025": 30, "ifeval": 541, "gpqa_diamond": 198}


@pytest.mark.parametrize("claim, measure_", [("wu-cost", "tokens"), ("wu-think", "closing")])
def test_the_curves_of_all_benchmarks_are_those_of_each_together(claim, measure_):
    """Every question counts once; of tokens, the thinking model's are 1."""
    quantities = [entry["quantity"] for entry in CONTENT["claims"].values() if "quantity" in entry]
    parts = {q["benchmark"]: dict(q["points"]) for q in quantities if q.get("measure") == measure_ and "benchmark" in q}
    assert parts.keys() == QUESTIONS.keys()
    total = {place: sum(QUESTIONS[name] * parts[name][place] for name in parts) for place in parts["ifeval"]}
    whole = total[1] if measure_ == "tokens" else sum(QUESTIONS.values())
    for place, value in CONTENT["claims"][claim]["quantity"]["points"]:
        assert value == pytest.approx(total[place] / whole, abs=0.0006)


@pytest.mark.parametrize("benchmark, short", [("aime2025", "aime"), ("ifeval", "ifeval"), ("gpqa_diamond", "gpqa")])
def test_published_steps_are_fitted_as_ours_are(benchmark, short):
    claims = CONTENT["claims"]
    places, shares = zip(*claims[f"wu-{short}-think"]["quantity"]["points"], strict=True)
    fitted = fit_share(places, shares)
    assert claims[f"wu-{short}-midpoint"]["about"] == pytest.approx(fitted.midpoint, abs=0.0006)
    assert claims[f"wu-{short}-width"]["about"] == pytest.approx(fitted.width, abs=0.0006)


@pytest.fixture
def results(tmp_path):
    """A study with two models, R1T, a sweep over λ2 and one over δ, in tables as the workflow's."""
    variants = {  # intelligence, cost, closing
        "v3-0324": (70, 0.3, 0.0),
        "r1": (98, 1.0, 1.0),
        "r1t": (97, 0.62, 1.0),
        "full-0.5": (90, 0.5, 0.5),
        "threshold-2": (89, 0.4, 0.3),
        "threshold-9": (71, 0.31, 0.1),
    }
    rows = []
    for variant, values in variants.items():
        row = {"variant": variant, "delta": 0.0, "cut_off": 0.0}
        for measure_, value in zip(("intelligence", "cost", "closing"), values, strict=True):
            row |= {measure_: value, f"{measure_}_low": value - 0.01, f"{measure_}_high": value + 0.01}
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "summary.csv", index=False)
    steps = {"closing": (0.5, 0.05), "cost": (0.7, 0.3), "intelligence": (0.45, 0.2)}
    pd.DataFrame(
        [
            {"sweep": "full", "measure": measure_, "midpoint": middle, "midpoint_low": middle - 0.01}
            | {"midpoint_high": middle + 0.01, "width": width, "width_low": width, "width_high": width}
            for measure_, (middle, width) in steps.items()
        ]
    ).to_csv(tmp_path / "transitions.csv", index=False)
    grid = [number / 100 for number in range(101)]
    curve = [{"sweep": "full", "measure": "cost", "lambda2": x, "value": 0.3 + 0.7 * x} for x in grid]
    pd.DataFrame(curve).to_csv(tmp_path / "transition_curves.csv", index=False)
    answers = []
    tokens = {"v3-0324": 3, "r1": 10, "r1t": 6, "full-0.5": 5, "threshold-2": 4, "threshold-9": 3}
    for variant, (intelligence, _, _) in variants.items():
        for question in range(100):
            answer = {"variant": variant, "benchmark": "arithmetic", "question": question, "sample": 1, "turn": 1}
            answer |= {"right": float(question < intelligence), "tokens": tokens[variant], "closing_tags": 1}
            answers.append(answer | {"finish": "stop"})
    pd.DataFrame(answers).to_parquet(tmp_path / "scores.parquet")
    differences = [
        {"base": "v3-0324", "other": "r1", "group": group, "layer": layer, "kind": "gate_proj", "codes": value}
        for group, values in {
            "attention": (1.0, 2.0, 2.2, 2.4),
            "shared_experts": (0.5, 1.0, 2.0, 3.0),
            "routed_experts": (8.0, 9.0, 10.0, 11.0),
        }.items()
        for layer, value in enumerate(values)
    ]
    pd.DataFrame(differences).to_parquet(tmp_path / "differences.parquet")
    weights = [
        {"tensor": f"e{number}", "group": "routed_experts", "layer": 1, "expert": number, "sources": ["r1"]}
        for number in range(3)
    ]
    weights += [
        {"tensor": "e3", "group": "routed_experts", "layer": 1, "expert": 3, "sources": ["v3-0324"]},
        {"tensor": "a", "group": "attention", "layer": 1, "expert": None, "sources": []}
        | {"lambda_v3-0324": 0.7, "lambda_r1": 0.3},
    ]
    (tmp_path / "audits/mine").mkdir(parents=True)
    pd.DataFrame(weights).astype({"expert": "Int64"}).to_parquet(tmp_path / "audits/mine/weights.parquet")
    speed = [{"variant": "r1", "at_once": 8, "seconds_an_answer": 9.0, "tokens_an_answer": 10.0}]
    for variant, seconds, tokens_ in (("r1", 2.0, 10.0), ("r1t", 1.0, 6.0)):
        row = {"variant": variant, "at_once": 1, "tokens_an_answer": tokens_, "joules_an_answer": math.nan}
        speed.append(
            row | {"tokens_an_answer_low": tokens_, "tokens_an_answer_high": tokens_, "joules_an_answer_low": math.nan}
        )
        speed[-1] |= {
            "seconds_an_answer": seconds,
            "seconds_an_answer_low": seconds / 2,
            "seconds_an_answer_high": seconds * 2,
        }
    pd.DataFrame(speed).to_csv(tmp_path / "latency.csv", index=False)
    return Evidence(
        folder=tmp_path,
        timed=("r1", "r1t"),
        sweeps={
            "full": [
                {"lambda2": x, "delta": 0.0, "variant": v} for x, v in [(0, "v3-0324"), (0.5, "full-0.5"), (1, "r1")]
            ],
            "experts": [
                {"lambda2": x, "delta": 0.0, "variant": v}
                for x, v in [(0, "v3-0324"), (0.5, "threshold-2"), (1, "r1t")]
            ],
            "threshold": [
                {"lambda2": 0.5, "delta": d, "variant": v}
                for d, v in [(0.0, "full-0.5"), (2.0, "threshold-2"), (9.0, "threshold-9")]
            ],
        },
        scores={"intelligence": ["arithmetic"], "reference": "r1", "resamples": 200, "seed": 1},
        differences=("v3-0324", "r1", "codes"),
        audits={"mine": ("r1t", ["v3-0324", "r1"])},
        models=("v3-0324", "r1"),
        architecture=ARCHITECTURE,
        measured=[{"name": "scaling_exponent", "ours": 1.01, "spread": "ours 0.9–1.1; reference 1–1"}],
    )


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ({"architecture": "tensors"}, 91991),
        ({"architecture": "expert_layers"}, 58),
        ({"measured": "scaling_exponent", "times": 2}, 2.02),
        ({"late_over_early": "shared_experts", "kind": "gate_proj"}, 6),
        ({"share_above": 1.5, "group": "attention"}, 0.75),
        ({"broken": "variants"}, 0),
        ({"level": "r1", "measure": "closing"}, 1),
        ({"transition": "full", "measure": "closing"}, 0.5),
        ({"transition": "full", "measure": "closing", "value": "width"}, 0.05),
        ({"width_over_width": "full", "measure": "intelligence", "other": "closing"}, 4),
        ({"ratio_of_sweeps": "experts", "other": "full", "measure": "cost", "start": 0.5}, (0.8 + 0.62) / 2),
        ({"trend": "full", "measure": "intelligence"}, 1),
        ({"trend": "threshold", "measure": "cost"}, -1),
        ({"felt": "full", "measure": "cost", "change": 0.02}, 0.02 / 0.3),
        ({"steepest": "full", "measure": "cost"}, 0.75),
        ({"rise_within": "full", "measure": "cost", "start": 0.25, "end": 0.75}, (0.75 - 0.4) / 0.7),
        ({"functional": "variants"}, 1),
        ({"level_for_less": "r1", "points": 3}, 1),
        ({"better_than": "v3-0324"}, 4),
        ({"change_beyond": "threshold", "from_delta": 3, "measure": "intelligence"}, -18),
        ({"below": "r1t", "parents": ["v3-0324", "r1"], "measure": "intelligence"}, 0),
        ({"below": "v3-0324", "parents": ["r1t", "r1"], "measure": "intelligence"}, 27),
        ({"parents_of": "r1t"}, 2),
        ({"change_at": "threshold", "up_to": 3, "measure": "intelligence"}, -1),
        ({"change_at": "threshold", "measure": "intelligence"}, -19),
        ({"difference": "r1t", "other": "r1", "measure": "intelligence"}, -1),
        ({"tokens": "r1t", "other": "r1"}, 0.6),
        ({"faster": "r1t", "than": "r1"}, 2),
        ({"beside_tokens": "seconds_an_answer", "variant": "r1t", "other": "r1"}, 0.5 / 0.6),
        ({"position": "r1t", "low": "v3-0324", "high": "r1", "measure": "cost"}, 0.32 / 0.7),
        ({"outside": "r1t", "parents": ["v3-0324", "r1"], "measure": "intelligence"}, 0),
        ({"outside": "v3-0324", "parents": ["r1t", "r1"], "measure": "intelligence"}, 27),
        ({"made_of": "r1t", "groups": ["routed_experts"], "parent": "r1"}, 0.75),
        ({"mostly": "r1t", "groups": ["routed_experts", "attention"], "parent": "v3-0324"}, 0.4),
        ({"farthest": "full", "measure": "cost", "points": [[0, 0.3], [0.5, 0.4], [1, 1]]}, 0.1),
        ({"farthest": "full", "measure": "right", "benchmark": "arithmetic", "points": [[0, 60], [1, 99]]}, 10),
        ({"farthest": "full", "measure": "tokens", "benchmark": "arithmetic", "points": [[0.5, 4], [1, 9]]}, 1),
        (
            {"farthest": "full", "measure": "tokens", "benchmark": "arithmetic", "points": [[0.5, 4], [1, 9]]}
            | {"relative": True},
            0.25,
        ),
        ({"jump": "full", "measure": "cost", "start": 0, "end": 0.5}, 0.2),
    ],
    ids=str,
)
def test_quantities_by_hand(results, quantity, value):
    assert measure({"quantity": quantity}, results, {}).value == pytest.approx(value)


def test_groups_that_differ_and_groups_that_do_not(results):
    assert QUANTITIES["apart"](results, ["routed_experts", "attention"]) == 1
    assert QUANTITIES["apart"](results, ["shared_experts", "attention", "routed_experts"]) == 0.25


def test_a_variant_that_is_broken_is_counted(results):
    table = pd.read_csv(results.folder / "summary.csv")
    table.loc[2, ["intelligence", "intelligence_high"]] = 50, 55
    table.loc[3, "cut_off"] = 0.9
    table.to_csv(results.folder / "summary.csv", index=False)
    assert QUANTITIES["broken"](results, "variants") == 2
    assert QUANTITIES["functional"](results, "variants") == pytest.approx(4 / 6)


def test_what_could_not_be_graded_is_not_called_functional(results):
    table = pd.read_csv(results.folder / "summary.csv")
    table.loc[2, "intelligence"] = math.nan
    table.to_csv(results.folder / "summary.csv", index=False)
    with pytest.raises(NotRunError, match="not all variants could be graded"):
        QUANTITIES["broken"](results, "variants")


def test_values_that_the_data_do_not_give_are_not_run(results):
    table = pd.read_parquet(results.folder / "differences.parquet")
    table.loc[(table.group == "shared_experts") & (table.layer == 0), "codes"] = 0.0
    table.to_parquet(results.folder / "differences.parquet")
    with pytest.raises(NotRunError, match="no value"):
        measure({"quantity": {"late_over_early": "shared_experts", "kind": "gate_proj"}}, results, {})


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        ({"level": "r1t2", "measure": "cost"}, "no variant r1t2"),
        ({"trend": "layers", "measure": "cost"}, "no sweep layers"),
        ({"difference": "r1t", "other": "r1", "measure": "mt_bench"}, "no marks in mt_bench"),
        ({"outside": "r1t", "parents": ["r1"], "measure": "gpqa_diamond_percent"}, "no gpqa_diamond"),
        ({"made_of": "r1", "groups": ["attention"], "parent": "r1"}, "no audit"),
        ({"made_of": "r1t", "groups": ["embeddings"], "parent": "r1"}, "no such weights"),
        ({"made_of": "r1t", "groups": ["attention"], "parent": "r1-0528"}, "does not compare with r1-0528"),
        ({"measured": "elsewhere"}, "no elsewhere"),
        ({"farthest": "full", "measure": "closing", "points": [[0.6, 1]]}, r"full has no λ2 = 0\.6"),
        ({"farthest": "full", "measure": "right", "points": [[0, 1]], "benchmark": "ifeval"}, "does not ask ifeval"),
        ({"jump": "full", "measure": "closing", "start": 0.5, "end": 0.51}, r"full has no λ2 = 0\.51"),
        ({"step_on": "full", "benchmark": "arithmetic"}, "full has too few λ2"),
        ({"faster": "r1t2", "than": "r1"}, "does not measure the speed of r1t2"),
        ({"beside_tokens": "joules_an_answer", "variant": "r1t", "other": "r1"}, "no counter of energy"),
    ],
    ids=str,
)
def test_what_a_study_lacks_is_not_run_and_says_so(results, quantity, reason):
    with pytest.raises(NotRunError, match=reason):
        measure({"quantity": quantity}, results, {})


def test_a_ratio_of_times_lies_between_the_worst_and_the_best_queue(results):
    found = measure({"quantity": {"faster": "r1t", "than": "r1"}}, results, {})
    assert (found.low, found.high) == (0.5, 8)
    with pytest.raises(NotRunError, match="measures no speed"):
        measure({"quantity": {"faster": "r1t", "than": "r1"}}, Evidence(folder=results.folder), {})


@pytest.fixture
def step(tmp_path):
    """A sweep of two benchmarks, in which ``</think>`` comes at λ2 = 0.4 in one, and at 0.6 in the other."""
    places, rows = [0, 0.2, 0.3, 0.5, 0.7, 0.8, 1], []
    for place in places:
        for benchmark, middle in (("ifeval", 0.4), ("aime2025", 0.6)):
            for question in range(200):
                row = {"variant": f"full-{place}", "benchmark": benchmark, "question": question, "sample": 1, "turn": 1}
                row |= {"right": question % 2, "tokens": 100 + question, "closing_tags": int(place > middle)}
                rows.append(row | {"finish": "stop"})
    pd.DataFrame(rows).to_parquet(tmp_path / "scores.parquet")
    summary = [{"variant": f"full-{place}", "delta": 0.0} for place in places]
    pd.DataFrame(summary).to_csv(tmp_path / "summary.csv", index=False)
    sweep = [{"lambda2": place, "delta": 0.0, "variant": f"full-{place}"} for place in places]
    scores = {"intelligence": ["ifeval"], "reference": "full-1", "resamples": 200, "seed": 1}
    return Evidence(folder=tmp_path, sweeps={"full": sweep}, scores=scores)


def test_each_benchmark_has_a_step_of_its_own(step):
    for benchmark, middle in (("ifeval", 0.4), ("aime2025", 0.6)):
        found = measure({"quantity": {"step_on": "full", "benchmark": benchmark}}, step, {})
        assert found.value == pytest.approx(middle, abs=0.1) and found.low <= found.value <= found.high
        width = measure({"quantity": {"step_on": "full", "benchmark": benchmark, "value": "width"}}, step, {})
        assert width.value < 0.1


def test_a_jump_has_an_interval_over_questions(step):
    quantity = {"jump": "full", "measure": "closing", "start": 0.3, "end": 0.5}
    assert measure({"quantity": quantity}, step, {}) == Estimate(
        0.5, 0.5, 0.5
    )  # in all questions of one benchmark of two
    table = pd.read_parquet(step.folder / "scores.parquet")
    late = (table.variant == "full-0.5") & (table.question % 4 == 0)
    table.loc[late, "closing_tags"] = 0
    table.to_parquet(step.folder / "scores.parquet")
    found = measure({"quantity": quantity}, Evidence(step.folder, sweeps=step.sweeps, scores=step.scores), {})
    assert found.value == 0.375 and 0.3 < found.low < 0.37 and 0.38 < found.high < 0.45


def test_claims_on_published_weights_want_these_weights(results):
    claim = {"quantity": {"share_above": 1.5, "group": "attention"}, "only_for": ["r1"]}
    with pytest.raises(NotRunError, match="deepseek-ai/DeepSeek-R1"):
        measure(claim, results, CONTENT["published_models"])
    results.repositories = {"r1": "deepseek-ai/DeepSeek-R1"}
    assert measure(claim, results, CONTENT["published_models"]).value == 0.75


def test_a_study_may_use_other_names(results):
    results.names = {"r1t2": "r1t", "steps": "full"}
    assert measure({"quantity": {"tokens": "r1t2", "other": "r1"}}, results, {}).value == pytest.approx(0.6)
    assert measure({"quantity": {"trend": "steps", "measure": "cost"}}, results, {}).value == 1


def test_a_study_of_audits_alone_tests_what_it_can(results):
    alone = Evidence(folder=results.folder, audits={"mine": ("r1t", ["v3-0324", "r1"])}, architecture=ARCHITECTURE)
    table = evaluate(CONTENT, alone).set_index("claim")
    assert table.verdict["tensors"] == REPRODUCED and table.verdict["think-full"] == NOT_RUN
    assert table.verdict["r1t-experts"] == NOT_RUN
    alone.repositories = {"r1t-published": "tngtech/DeepSeek-R1T-Chimera"}
    alone.audits = {"mine": ("r1t-published", ["v3-0324", "r1"])}
    assert evaluate(CONTENT, alone).set_index("claim").value["r1t-experts"] == 0.75
    assert table.note["think-full"] == "the study asks no questions"


def test_every_claim_has_a_row_and_a_verdict(results):
    table = evaluate(CONTENT, results)
    assert list(table.columns) == COLUMNS and list(table.claim) == list(CONTENT["claims"])
    assert set(table.verdict) == {REPRODUCED, NOT_REPRODUCED, NOT_RUN}
    assert (table.value.isna() == (table.verdict == NOT_RUN)).all()
    assert (table.note[table.verdict == NOT_RUN] != "").all()
    verdicts = table.set_index("claim").verdict
    # 0.504 and 0.544 cannot both be right, and both stand
    assert (verdicts["think-full"], verdicts["think-article"]) == (REPRODUCED, NOT_REPRODUCED)
