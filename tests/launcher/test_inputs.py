"""What rules read up to the merged checkpoint."""

from support.runs import flat, wildcards


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
