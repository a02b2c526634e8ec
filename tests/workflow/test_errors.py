"""A user's mistakes end in one clear sentence, before anything expensive runs."""

import os

import pytest

pytestmark = pytest.mark.workflow


def failed(clone, *words):
    """What a failing call says, on both streams."""
    done = clone.snakemake(*words, check=False)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert not (clone.folder / "results/mini/answers").exists()
    return text


def changed(clone, file, old, new):
    path = clone.folder / file
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("config/config.yaml", "study: mini", "study: mimi", "There is no study 'mimi'"),
        ("config/config.yaml", "study: mini", "studdy: mini", "'study' is a required property"),
        ("config/config.yaml", "downloads: 4", "downloads: 4\ndownloads: 8", "the key 'downloads' is given twice"),
        ("config/config.yaml", "study: mini", "study: 2025", "at study: YAML reads 2025 as a number"),
        ("config/claims.yaml", "sources:", "sources: {}\nsources:", "the key 'sources' is given twice"),
        ("config/mini_family.yaml", "seed:", "seed: 1\nseed:", "the key 'seed' is given twice"),
        ("config/studies/mini.yaml", "weights: {r1: 1}", "weights: {r1: 0.9}", "r1t has weights λ that sum to 0.9"),
        ("config/studies/mini.yaml", "other: r1", "other: r2", "names the parent 'r2'"),
        ("config/studies/mini.yaml", "questions: 256", "questions: many", "'many' is not of type 'integer'"),
        (
            "config/studies/mini.yaml",
            "max_tokens: 256}",
            "max_tokens: 641}",
            "641 is beyond serving.options.max-model-len",
        ),
        ("resources/mini/r1/tokenizer_config.json", "content + eos", "content | trim + eos", "instead of the forced"),
        ("config/studies/mini.yaml", "path: resources/mini/r1}", "pth: resources/mini/r1}", "at models.r1"),
        ("config/studies/mini.yaml", "mini/lock.json", "mini/lick.json", "lick.json cannot be read"),
        ("resources/mini/lock.json", '"r1-0528"', '"r1-0529"', "does not have the model 'r1-0528'"),
    ],
)
def test_a_mistake_in_the_configuration(clone, file, old, new, sentence):
    changed(clone, file, old, new)
    text = failed(clone, "--dry-run")
    assert sentence in text
    assert "Traceback" not in text


def test_a_study_is_called_as_it_is_written_on_the_command_line(clone):
    """Snakemake makes the number 528 of it, and jobs are given it once more."""
    clone.study("0528")
    clone.snakemake("--config", "study=0528", "--", "results/0528/plans/r1t.json")
    assert (clone.folder / "results/0528/plans/r1t.json").exists()
    for name, sentence in (("1e3", "There is no study '1e3'"), ("", "at study: '' does not match")):
        assert sentence in failed(clone, "--dry-run", "--config", f"study={name}")


def test_a_study_without_a_lock_can_be_locked(clone):
    lock = clone.folder / "resources/mini/lock.json"
    shipped = lock.read_bytes()
    lock.unlink()
    clone.snakemake("lock")
    assert (clone.folder / "results/mini/lock.json").read_bytes() == shipped


def test_a_missing_shard(clone):
    shard = next((clone.folder / "resources/mini/r1").glob("*.safetensors"))
    shard.unlink()
    text = failed(clone, "--dry-run")
    assert f"r1 lacks the locked file resources/mini/r1/{shard.name}" in text


def test_a_changed_byte_in_a_shard(clone):
    shard = sorted((clone.folder / "resources/mini/r1").glob("*.safetensors"))[2]
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 4
    shard.write_bytes(content)
    text = failed(clone)
    assert f"ERROR: resources/mini/r1/{shard.name} has the SHA-256" in text
    assert "Traceback" not in text


def test_a_shard_that_is_replaced_by_an_older_one(clone):
    """Its time says that nothing is new; what was merged stays, and nothing more is made."""
    clone.snakemake("verify", "results/mini/merged/r1t/recipe.json")
    assert "Nothing to be done" in clone.snakemake("verify", "results/mini/merged/r1t/recipe.json").stderr
    shard = sorted((clone.folder / "resources/mini/r1").glob("*.safetensors"))[2]
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 4
    shard.write_bytes(content)
    os.utime(shard, (1_600_000_000, 1_600_000_000))
    merged = {path: path.stat().st_mtime_ns for path in (clone.folder / "results/mini/merged/r1t").iterdir()}
    clone.snakemake("--dry-run", "results/mini/merged/r1t2/recipe.json")
    text = failed(clone, "results/mini/merged/r1t/recipe.json", "results/mini/merged/r1t2/recipe.json")
    assert f"ERROR: resources/mini/r1/{shard.name} has the SHA-256" in text
    assert merged == {path: path.stat().st_mtime_ns for path in (clone.folder / "results/mini/merged/r1t").iterdir()}
    assert not list((clone.folder / "results/mini").glob("merged/r1t2/*"))


def test_locking_and_more_in_one_call(clone):
    clone.snakemake("lock", "verify")  # a lock that is there is used, and a new one written beside it
    changed(clone, "config/studies/mini.yaml", "mini/lock.json", "mini/lick.json")
    text = failed(clone, "lock", "verify")
    assert "lick.json cannot be read" in text
    assert "Traceback" not in text


@pytest.mark.server
def test_a_server_that_does_not_come_up(clone):
    changed(clone, "config/studies/mini.yaml", "dtype: float32", "dtype: float31")
    text = failed(clone, "results/mini/scores/r1.parquet")
    assert "ERROR: The vLLM server for r1 ended with status" in text
    assert "float31" in text
    assert "Traceback" not in text


def test_a_run_that_verified_files_anew_does_what_it_was_asked_for(clone):
    """Snakemake itself leaves out what has a reason of its own behind files that are verified anew."""
    clone.snakemake("--", "results/mini/plans/r1t.json")
    os.utime(clone.folder / "resources/mini/r1/config.json")
    clone.snakemake("--", "results/mini/plans/r1t2.json")
    assert (clone.folder / "results/mini/plans/r1t2.json").exists()


def test_an_altered_byte_is_said_at_every_call(clone):
    """Snakemake notes the params of a job that failed, and would take the second call for done."""
    clone.snakemake("verify")
    shard = clone.folder / "resources/mini/r1/model-00003-of-000005.safetensors"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    for _ in range(3):
        assert "r1/model-00003-of-000005.safetensors has the SHA-256" in failed(clone, "verify")
    content[-5] ^= 1
    shard.write_bytes(content)
    assert clone.snakemake("verify").returncode == 0


def test_an_incomplete_architecture_ends_the_run_at_its_start(clone):
    file = clone.folder / "scripts/aoe/checkpoints/architectures/unfinished.py"
    file.write_text('"""Nothing in it."""\n', encoding="utf-8")
    text = failed(clone, "--dry-run")
    assert "architectures/unfinished.py has no DEFINITION; docs/how-to/add-an-architecture.md shows one" in text
    file.write_text("DEFINITION = {}['nothing']\n", encoding="utf-8")
    assert "architectures/unfinished.py cannot be used ('nothing')" in failed(clone, "--dry-run")
