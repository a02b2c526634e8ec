"""What the rules of audits read, and what is said of all of them."""

import json

import pytest
from aoe import AoeError
from aoe.audit import VERIFIED
from launcher.audits import show_verdicts
from support.runs import flat, wildcards


def test_an_audit_of_an_exported_variant_reads_what_the_study_wrote(mini):
    for audit, settings in mini.study.audits.items():
        needed = mini.audits.needed(wildcards(audit=audit))
        assert needed["merged"] == f"results/mini/merged/{settings['model']}/recipe.json"
        assert len(needed["verified"]) == len(settings["parents"])
        shards = mini.inputs.shards("v3-0324")
        assert [path.split("/")[-1] for path in mini.audits.shard_tables(wildcards(audit=audit))] == [
            f"{shard}.parquet" for shard in shards
        ]


def test_params_are_plain(mini):
    audit = wildcards(audit=next(iter(mini.study.audits)))
    for function in ("settings", "claim", "checkpoints", "revisions", "digests", "labels"):
        value = getattr(mini.audits, function)(audit)
        assert flat(value) == value


def test_scripts_can_ask_for_the_verdict(mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, audit in enumerate(mini.study.audits):
        folder = tmp_path / "results/mini/audits" / audit
        folder.mkdir(parents=True)
        found = {"verdict": VERIFIED if number else "deviates", "summary": ["One sentence."]}
        (folder / "audit.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(AoeError, match=r"Not everything is verified: .*: deviates"):
        show_verdicts(mini.study, tmp_path / "verdicts.txt")
    assert VERIFIED in (tmp_path / "verdicts.txt").read_text(encoding="utf-8")
