"""Caches are put where the site says; that jobs write nothing into the home folder: workflow/test_slurm.py."""

from cluster.caches import PLACES, cache_variables


def test_all_caches_are_below_one_folder(tmp_path):
    found = cache_variables(tmp_path / "caches", {"HOME": "/home/me"})
    assert found.keys() == PLACES.keys() | {"HF_TOKEN_PATH"}
    assert all(path.startswith(f"{tmp_path}/caches") for name, path in found.items() if name != "HF_TOKEN_PATH")


def test_the_hubs_token_is_where_it_was():
    def token(**environment):
        return cache_variables("caches", {"HOME": "/home/me", **environment}).get("HF_TOKEN_PATH")

    assert token() == "/home/me/.cache/huggingface/token"
    assert token(XDG_CACHE_HOME="/scratch/cache") == "/scratch/cache/huggingface/token"
    assert token(HF_HOME="/scratch/hub") == "/scratch/hub/token"
    assert token(HF_TOKEN_PATH="/secret") is None


def test_what_a_user_sets_stays(tmp_path):
    found = cache_variables(tmp_path, {"HOME": "/home/me", "VLLM_CACHE_ROOT": "/fast"})
    assert "VLLM_CACHE_ROOT" not in found and "TRITON_CACHE_DIR" in found


def test_a_job_takes_what_the_launcher_set(tmp_path):
    launchers = cache_variables(tmp_path, {"HOME": "/home/me"})
    assert cache_variables("elsewhere", launchers | {"HOME": "/home/me"}) == {}
