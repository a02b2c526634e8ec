"""What rules read up to the merged checkpoint."""

from launcher.inputs import Inputs
from support.runs import flat, run_of, wildcards


def test_params_are_plain(mini):
    """They are pickled into the environment of a rule's script, which may lack what the launcher has."""
    r1 = wildcards(name="r1", file="config.json")
    for value in (mini.inputs.file_entry(r1), mini.inputs.needed_entries(r1), mini.inputs.directories(r1)):
        assert flat(value) == value
    variant = wildcards(variant="r1t")
    for function in ("parent_provenance", "parent_revisions", "parent_directories", "recipe"):
        value = getattr(mini.inputs, function)(variant)
        assert flat(value) == value


def test_models_that_the_user_laid_down_are_not_fetched(mini, paper):
    assert mini.inputs.all_records() == []
    assert mini.inputs.records(wildcards(name="r1")) == []
    assert "results/paper/downloaded/r1/config.json.json" in paper.inputs.all_records()


def test_shards_wait_for_the_outline_and_small_files_do_not(paper):
    shard = paper.inputs.shards("r1")[0]
    assert paper.inputs.outline(wildcards(name="r1", file=shard)) == "results/paper/outline.json"
    assert paper.inputs.outline(wildcards(name="r1", file="config.json")) == []


def test_a_parent_of_which_little_is_read_is_verified_in_part(paper):
    files = [str(file) for file in paper.inputs.verified_for("r1t")]
    assert files == ["results/paper/verified/v3-0324.json", "results/paper/verified_for/r1t/r1.json"]


def test_differences_are_read_for_a_threshold_only(mini):
    assert mini.inputs.differences_for_delta(wildcards(variant="r1t")) == []
    (with_delta, *_) = [name for name, recipe in mini.study.variants.items() if recipe.threshold.delta > 0]
    assert mini.inputs.differences_for_delta(wildcards(variant=with_delta)) == "results/mini/differences.parquet"


def test_realized_lambdas_are_measured_of_variants_that_combine(mini, paper):
    base = wildcards(base="v3-0324")
    plans = mini.inputs.mixed.plans(base)
    assert plans["full-0.5"] == "results/mini/plans/full-0.5.json" and {"thirds", "threshold-5"} < plans.keys()
    assert plans.keys() & {"r1t", "r1", "v3-0324"} == set()
    needed = mini.inputs.mixed.needed(base)
    assert needed["plans"] == list(plans.values())
    files = [f"results/mini/verified/{name}.json" for name in ("v3-0324", "r1", "r1-0528")]
    assert list(map(str, needed["verified"])) == files
    assert list(mini.inputs.mixed.directories(base)) == ["v3-0324", "r1", "r1-0528"]
    assert mini.inputs.mixed.plans(wildcards(base="r1")) == {}
    sums = mini.inputs.realized_sums()
    assert len(sums) == 5 and sums[0].startswith("results/mini/realized/v3-0324/model-00001")
    assert len(paper.inputs.realized_sums()) == 163
    # the experts' sweep reads those of R1's shards that hold experts
    assert "results/paper/verified_for/experts-0.5/r1.json" in map(str, paper.inputs.mixed.needed(base)["verified"])


def test_the_estimate_of_lambdas_does_not_wait_for_the_differences(mini):
    plans = mini.inputs.early.plans(wildcards())
    assert "full-0.5" in plans and not [variant for variant in plans if variant.startswith("threshold")]
    assert mini.inputs.expected_lambda() == ["results/mini/expected_lambda.csv"]


def test_without_variants_that_combine_no_lambdas_are_measured():
    inputs = Inputs(run_of("audit"))
    assert inputs.realized() == inputs.realized_sums() == inputs.expected_lambda() == []


def test_an_exported_variant_has_its_bases_shards(mini):
    assert mini.inputs.exported == ["r1t", "r1t2"]
    shards = mini.inputs.shards("v3-0324")
    assert mini.inputs.merged_files("r1t") == [f"results/mini/merged/r1t/{file}" for file in [*shards, "recipe.json"]]
    assert mini.inputs.checkpoints_of("r1t") == {"r1t": "results/mini/merged/r1t"}
    assert mini.inputs.checkpoints_of("full-0.5") == {
        "v3-0324": "resources/mini/v3-0324",
        "r1": "resources/mini/r1",
    }


def test_the_disk_of_a_shard_is_rounded_up(mini):
    shard = mini.inputs.shards("r1")[0]
    size = mini.run.locked["r1"].files[shard]["size"]
    assert mini.inputs.file_disk(wildcards(name="r1", file=shard)) == size // 1_000_000 + 1
