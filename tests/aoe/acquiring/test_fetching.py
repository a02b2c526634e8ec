"""Fetching: whatever the network does, a file is right, or not there; and a later run completes it."""

import collections
import hashlib
import os
import random
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aoe import AoeError
from aoe.acquiring import transfer
from aoe.acquiring.fetching import Progress, begin_fetching, check_room, fetch, fetch_outline, lock_source, partial_of
from aoe.acquiring.hashing import HashedWriter
from aoe.acquiring.sources import open_source
from aoe.checkpoints.checkpoint import OUTLINE, Checkpoint
from support.hub import LARGE, Fault, counted

SCHEDULES = 240


@pytest.fixture
def hasty(monkeypatch):
    """Less patience than in real life."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)


def random_fault(rng, get):
    """get: how the transfer of the file's bytes is called, small or large."""
    kind = rng.choice(["head", get, get, get])
    if kind == "head" or rng.random() < 0.2:
        return Fault(kind, status=rng.choice([429, 503, 500, 502, 408]), retry_after=rng.choice([None, 0, 1]))
    name = rng.choice(["cut", "cut", "cut", "short", "long", "flip", "stall", "slow", "deaf", "shift", "lost"])
    if name == "lost":
        return Fault(kind, status=rng.choice([403, 404, 416]))
    value = {"stall": 0.8, "slow": 0.02, "deaf": True}.get(name) or rng.randrange(1, 500_000)
    return Fault(kind, **{name: min(value, 3000) if name in ("short", "long", "shift") else value})


def one_schedule(hub, folder, seed):
    """Fetch a file through a random schedule of faults, and once more undisturbed; returns how the first one ended."""
    rng = random.Random(seed)
    size = rng.choice([0, 1, rng.randrange(LARGE), rng.randrange(LARGE, 400_000), rng.randrange(LARGE, 2_500_000)])
    content = rng.randbytes(size)
    repo = hub.add(f"faulty/file{seed}", {"file": content})
    source = open_source(f"hf://faulty/file{seed}")
    facts, target = source.snapshot()["file"], folder / str(seed) / "file"
    target.parent.mkdir()
    partial = partial_of(target, facts)
    left = rng.choice(["nothing", "nothing", "beginning", "garbage", "too much"])
    if left != "nothing":  # by an earlier run
        before = content[: rng.randrange(size + 1)]
        wrong = {"garbage": rng.randbytes(len(before)), "too much": content + b"x"}
        partial.write_bytes(wrong.get(left, before))
    repo.faults = [random_fault(rng, "storage" if size >= LARGE else "get") for _ in range(rng.randrange(1, 9))]
    try:
        fetch(source, "file", facts, target)
        end = "complete"
        assert target.exists()
    except AoeError as error:
        end = re.sub(r"\d+", "N", str(error).split(" of faulty")[-1])[:60]
        assert "\n" not in str(error)
    assert not target.exists() or target.read_bytes() == content, f"schedule {seed}: wrong bytes were accepted"
    repo.faults = []
    fetch(source, "file", facts, target)
    assert target.read_bytes() == content, f"schedule {seed}: not completed"
    assert os.listdir(target.parent) == ["file"], f"schedule {seed}: something is left"
    return end


def test_no_schedule_of_faults_ends_in_wrong_bytes(hub, hasty, tmp_path):
    with ThreadPoolExecutor(24) as pool:
        ends = collections.Counter(pool.map(lambda seed: one_schedule(hub, tmp_path, seed), range(SCHEDULES)))
    print(*(f"{number:4} {end}" for end, number in ends.most_common()), sep="\n")
    assert SCHEDULES / 2 < ends["complete"] < SCHEDULES


def test_a_cut_download_goes_on_where_it_was(hub, hasty, tmp_path):
    content = random.Random(1).randbytes(9_000_000)
    repo = hub.add("o/n", {"file": content})
    repo.faults = [Fault("storage", cut=5_000_000), Fault("storage", cut=2_000_000)]
    source = open_source("hf://o/n")
    assert fetch(source, "file", source.snapshot()["file"], tmp_path / "file") == len(content)
    stored = [headers for _, _, path, headers in hub.requests if "signature" in path]
    assert [headers.get("Range") or headers.get("range") for headers in stored] == [
        None,
        "bytes=5000000-",
        "bytes=7000000-",
    ]
    assert counted(hub.requests)["HEAD", "o"] == 3
    assert fetch(source, "file", source.snapshot()["file"], tmp_path / "file") == 0


def test_a_source_that_keeps_giving_other_bytes_is_refused(hub, tmp_path):
    repo = hub.add("o/n", {"file": bytes(LARGE)})
    repo.faults = [Fault("storage", flip=77) for _ in range(9)]
    source = open_source("hf://o/n")
    with pytest.raises(AoeError, match="gives other bytes for file than those that were locked"):
        fetch(source, "file", source.snapshot()["file"], tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_a_server_that_is_gone_is_told_in_a_sentence(hub, hasty, tmp_path):
    hub.add("o/n", {"file": bytes(LARGE)})
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    hub.close()
    with pytest.raises(AoeError, match=r"file of o/n could not be fetched from http://127.0.0.1:\d+: .*goes on from"):
        fetch(source, "file", facts, tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "uri", "sentence"),
    [
        ({"gated": True}, "hf://o/n", "The repository o/n is gated: ask for access at http"),
        ({"private": True}, "hf://o/n", "There is no repository o/n at .*, or it is private"),
        ({}, "hf://o/other", "There is no repository o/other"),
        ({}, "hf://o/n@v2", "The repository o/n has no revision v2"),
    ],
)
def test_what_may_not_be_read(hub, tmp_path, settings, uri, sentence, monkeypatch):
    hub.add("o/n", {"config.json": b"{}"}, **settings)

    def read():
        source = open_source(uri)
        source.snapshot()
        return source.read("config.json", 0, 2)

    with pytest.raises(AoeError, match=sentence):
        read()
    if settings:
        monkeypatch.setenv("HF_TOKEN", hub.token)
        assert read() == b"{}"


def test_a_file_that_is_gone_is_named(hub, tmp_path):
    repo = hub.add("o/n", {"file": b"content"})
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    repo.commits[repo.refs["main"]].clear()
    with pytest.raises(AoeError, match="file of o/n is not there at main"):
        fetch(source, "file", facts, tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_offline_nothing_is_asked_for(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    hub.add("o/n", {"file": b"x"})
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    with pytest.raises(AoeError, match="HF_HUB_OFFLINE forbids"):
        fetch(source, "file", facts, tmp_path / "file")
    monkeypatch.undo()
    close_session()


def test_xet_is_used_where_it_is_offered(hub, tmp_path, monkeypatch):
    """The storage behind Xet is real, too: a folder, filled by hf_xet itself."""
    pytest.importorskip("hf_xet")
    content = random.Random(2).randbytes(3_000_000)
    (tmp_path / "original").write_bytes(content)
    hub.cas = f"local://{tmp_path}/storage"
    (tmp_path / "storage").mkdir()
    script = (  # a process of its own, as the storage serves one at a time
        "import hf_xet, sys\n"
        "storage = dict(endpoint=sys.argv[1], token='xet', token_expiry_unix_secs=9999999999)\n"
        "with hf_xet.XetSession().new_upload_commit(**storage) as commit:\n"
        "    upload = commit.start_upload_file(sys.argv[2])\n"
        "print(upload.result().xet_info.hash)"
    )
    command = [sys.executable, "-c", script, hub.cas, str(tmp_path / "original")]
    stored = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    hub.add("o/n", {"file": content, "other": content[::-1]}, xet={"file": stored, "other": stored})
    source = open_source("hf://o/n")
    files = source.snapshot()
    fetch(source, "file", files["file"], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert not [path for _, _, path, _ in hub.requests if "signature" in path]
    with pytest.raises(AoeError, match="gives other bytes"):
        fetch(source, "other", files["other"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_folders_are_linked_or_copied_and_their_symlinks_followed(tmp_path):
    original = tmp_path / "blobs/abc"
    original.parent.mkdir()
    original.write_bytes(b"content")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "file").symlink_to("../blobs/abc")
    (folder / "sub").mkdir()
    (folder / "file.partial").write_bytes(b"half")
    source = open_source(f"file:{folder}")
    facts = source.snapshot()
    assert facts == {"file": {"size": 7, "sha256": hashlib.sha256(b"content").hexdigest()}}
    fetch(source, "file", facts["file"], tmp_path / "inputs/file")
    assert (tmp_path / "inputs/file").read_bytes() == b"content"
    assert not (tmp_path / "inputs/file").is_symlink()
    assert os.listdir(tmp_path / "inputs") == ["file"]
    original.write_bytes(b"altered")
    with pytest.raises(AoeError, match="gives other bytes for file"):
        fetch(source, "file", facts["file"], tmp_path / "again/file")
    original.unlink()
    with pytest.raises(AoeError, match=r"file is a symbolic link to \.\./blobs/abc, which does not exist"):
        fetch(source, "file", facts["file"], tmp_path / "again/file")
    assert os.listdir(tmp_path / "again") == []
    with pytest.raises(AoeError, match="cannot be read"):
        open_source(f"file:{tmp_path}/none").snapshot()


def test_a_download_never_writes_into_a_linked_original(hub, tmp_path):
    content = random.Random(3).randbytes(LARGE)
    hub.add("o/n", {"file": content})
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    (tmp_path / "mine").write_bytes(bytes(LARGE // 2))
    os.link(tmp_path / "mine", partial_of(tmp_path / "file", facts))  # a killed run's, from a folder
    fetch(source, "file", facts, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "mine").read_bytes() == bytes(LARGE // 2)


def test_another_file_of_that_name_is_left_alone(hub, tmp_path):
    hub.add("o/n", {"file": b"content"})
    source = open_source("hf://o/n")
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(AoeError, match="has 4 bytes instead of the locked 7; it is no file of this lock"):
        fetch(source, "file", source.snapshot()["file"], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_several_at_once_fetch_from_a_folder(tmp_path):
    """Processes, as jobs are; a link takes the place of what a lock on the partial file would be on."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_bytes(b"content")
    script = (
        "import sys; from pathlib import Path; from aoe.acquiring.fetching import fetch\n"
        "from aoe.acquiring.sources import open_source\n"
        "facts = {'size': 7, 'sha256': 'ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73'}\n"
        "for number in range(200):\n"
        "    fetch(open_source(sys.argv[1]), 'file', facts, Path(sys.argv[2]) / str(number))"
    )
    command = [sys.executable, "-c", script, f"file:{tmp_path}/mine", str(tmp_path / "fetched")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path)))}
    jobs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    assert [job.communicate()[1] for job in jobs] == [b""] * 3
    assert sorted(os.listdir(tmp_path / "fetched"), key=int) == [str(number) for number in range(200)]


def test_several_at_once_fetch_a_file_once(hub, tmp_path):
    content = random.Random(4).randbytes(2_000_000)
    repo = hub.add("o/n", {"file": content})
    repo.faults = [Fault("storage", slow=0.02)]
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    with ThreadPoolExecutor(6) as pool:
        transferred = list(pool.map(lambda _: fetch(source, "file", facts, tmp_path / "file"), range(6)))
    assert sorted(transferred) == [0, 0, 0, 0, 0, len(content)]
    assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_there_is_not_written_to(hub, tmp_path):
    """A folder that a group shares may be for reading only."""
    hub.add("o/n", {"file": b"content"})
    source = open_source("hf://o/n")
    facts = source.snapshot()["file"]
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/file").write_bytes(b"content")
    before = (tmp_path / "shared").stat().st_mtime_ns
    assert fetch(source, "file", facts, tmp_path / "shared/file") == 0
    assert (tmp_path / "shared").stat().st_mtime_ns == before
    with pytest.raises(AoeError, match="could not be written"):
        fetch(source, "file", facts, tmp_path / "shared/file/file")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(AoeError, match="is no file, or a link to none"):
        fetch(source, "file", facts, tmp_path / "link")


def test_datasets_may_have_folders_and_models_are_one(tmp_path):
    for file in ("data/test.jsonl", "config.json", ".cache/x", "data/.hidden", "file.lock"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}", encoding="utf-8")
    source = open_source(f"file:{tmp_path}")
    assert list(source.snapshot()) == ["config.json"]
    assert list(lock_source("q", "datasets", source).files) == ["config.json", "data/test.jsonl"]


def test_a_space_can_be_a_dataset(hub, tmp_path):
    """MT-Bench's files are in one."""
    hub.add("someone/questions", {"data/question.jsonl": b'{"question_id": 81}\n'}, kind="space")
    source = open_source("hf://spaces/someone/questions@main")
    locked = lock_source("q", "datasets", source)
    fetch(source, "data/question.jsonl", locked.files["data/question.jsonl"], tmp_path / "question.jsonl")
    assert (tmp_path / "question.jsonl").read_bytes() == b'{"question_id": 81}\n'


def test_pipes_and_circles_in_a_folder_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AoeError, match="pipe is no file"):
        open_source(f"file:{tmp_path}").snapshot()
    (tmp_path / "pipe").unlink()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(AoeError, match="circle is a symbolic link"):
        open_source(f"file:{tmp_path}").snapshot()


def test_many_small_pieces_are_written(tmp_path):
    content = random.Random(5).randbytes(100_000)
    facts = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with HashedWriter(tmp_path / "file", facts, 0) as writer:
        for start in range(0, len(content), 10):
            writer.write(content[start : start + 10])
    assert writer.digest == facts["sha256"]
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("token", ["hf_secret\x0bx", "“hf_secret”", "hf_secret\u200b", "hf_se cret"])
def test_tokens_that_are_none_are_refused_and_not_shown(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AoeError, match="holds characters that no token has") as caught:
        open_source("hf://o/n")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["huggingface.co", "http://me:se/cret@host:1", "http://host:port", "ftp://host", ""]
)
def test_endpoints_that_are_none_are_refused_and_not_shown(hub, monkeypatch, endpoint):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(AoeError, match="HF_ENDPOINT is no address") as caught:
        open_source("hf://o/n")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"<html>Log in!</html>", b"[]", b"{}", b'{"id": "o/n", "siblings": [{"rfilename": "a"}]}', b"null"]
)
def test_what_does_not_answer_as_a_hub_is_told(hub, monkeypatch, answer):
    handler = hub._hub.RequestHandlerClass
    monkeypatch.setattr(handler, "answer", lambda self: self.reply(200, {"Content-Type": "application/json"}, answer))
    with pytest.raises(AoeError, match=r"could not be fetched from http.*Is it a Hub\?"):
        open_source("hf://o/n").snapshot()


def test_an_outline_of_another_lock_is_fetched_anew(hub, family, tmp_path):
    repo = hub.add_folder("owner/v3", family["v3"].directory)
    source = open_source("hf://owner/v3")
    locked = lock_source("v3", "models", source)
    fetch_outline(source, locked, tmp_path / "fetched")
    file = locked.shards[0]
    content = bytearray((family["v3"].directory / file).read_bytes())
    content[content.index(b'"pt"') + 1] = ord("q")  # metadata: the same size, another header
    hub.commit(repo, {**repo.commits[repo.refs["main"]], file: bytes(content)})
    source = open_source("hf://owner/v3")
    moved = fetch_outline(source, lock_source("v3", "models", source), tmp_path / "fetched")
    assert moved.shard(file).metadata == {"format": "qt"}


def test_outlines_show_a_model_before_its_weights(hub, family, tmp_path):
    hub.add_folder("owner/v3", family["v3"].directory)
    source = open_source("hf://owner/v3")
    locked = lock_source("v3", "models", source)
    fetch_outline(source, locked, tmp_path / "fetched")
    outline = Checkpoint(tmp_path / "fetched", "v3")
    assert outline.weights == family["v3"].weights
    name = "model.layers.0.self_attn.o_proj.weight"
    assert outline.stored(name) == family["v3"].stored(name)
    outline.check_scales()
    with pytest.raises(AoeError, match="the shard itself was not fetched"):
        outline.read(name)
    assert sorted(os.listdir(tmp_path / "fetched" / OUTLINE)) == ["digests.json", *locked.shards]
    shard = locked.shards[0]
    fetch(source, shard, locked.files[shard], tmp_path / "fetched" / shard)
    assert Checkpoint(tmp_path / "fetched").bytes(name) == family["v3"].bytes(name)
    locked.files[locked.shards[1]]["size"] += 1
    with pytest.raises(AoeError, match="but the file has"):
        fetch_outline(source, locked, tmp_path / "fetched")


def test_a_shard_without_a_header_is_refused(hub, family, tmp_path):
    hub.add_folder("owner/v3", family["v3"].directory)
    source = open_source("hf://owner/v3")
    locked = lock_source("v3", "models", source)
    repo = hub.repos["model", "owner/v3"]
    repo.commits[repo.refs["main"]][locked.shards[0]] = b"\xff" * 200_000
    with pytest.raises(AoeError, match="is no safetensors file: it begins with no header"):
        fetch_outline(source, locked, tmp_path / "fetched")


def test_room_is_asked_for_before_the_first_byte(tmp_path):
    big = {"size": 10**16, "sha256": "0" * 64}
    with pytest.raises(AoeError, match=r"The file needs 10,000,000.0 GB more in .*/none, but only"):
        check_room(tmp_path / "none", big["size"], "The file")
    with pytest.raises(AoeError, match="What this run fetches needs"):
        begin_fetching({str(tmp_path / "none/file"): big}, tmp_path / "note.json")
    assert not (tmp_path / "note.json").exists()
    (tmp_path / "file").write_bytes(b"abc")
    begin_fetching({str(tmp_path / "file"): {"size": 3, "sha256": "0" * 64}}, tmp_path / "note.json")
    assert (tmp_path / "note.json").exists()


def test_progress_counts_what_lies_on_the_disk(tmp_path):
    facts = {"size": 4_000_000_000, "sha256": "a" * 64}
    progress = Progress({str(tmp_path / name): facts for name in "ab"})
    assert str(progress) == "0.00 of 8.00 GB (0 %)"
    for path in (tmp_path / "a", partial_of(tmp_path / "b", facts)):
        with open(path, "wb") as file:
            file.truncate(facts["size"] if path.name == "a" else facts["size"] // 2)
    progress.start -= 60
    assert str(progress) == "6.00 of 8.00 GB (75 %), 100 MB/s, 20 s left"
    said = []
    jobs = [progress.reported(said.append, tmp_path / "mutex", interval=0.05) for _ in range(2)]
    with jobs[0], jobs[1]:
        threading.Event().wait(0.4)
    assert 2 <= len(said) <= 9


def test_memory_does_not_grow_with_the_file(hub, tmp_path):
    """Peak memory of a process that fetches 4 MB, and of one that fetches 600."""
    script = (
        "import resource, sys; from aoe.acquiring.fetching import fetch\n"
        "from aoe.acquiring.sources import open_source\n"
        "source = open_source(sys.argv[1]); facts = source.snapshot()['file']\n"
        "fetch(source, 'file', facts, sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for name, size in (("small", 4_000_000), ("large", 600_000_000)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
        hub.add(f"o/{name}", {"file": tmp_path / name})
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path)))}
        run = subprocess.run(
            [sys.executable, "-c", script, f"hf://o/{name}", str(tmp_path / f"{name} fetched")],
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout))
    assert peaks[1] < peaks[0] + 60, peaks


@pytest.mark.parametrize(
    "text", ["r1", "hf://", "hf://only-a-name", "file:", "hf://buckets/a/b", "hf://a/b/file", "s3://x"]
)
def test_sources_that_are_none_are_refused(text):
    with pytest.raises(AoeError, match=r"models\.r1 has the source"):
        open_source(text, "models.r1")
