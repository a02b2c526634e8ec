"""Families that vLLM's build for processors serves: what it answers from a plan, and what transformers answers.

vLLM's engines run one after the other, each in a process that is forked from one that has imported vLLM.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from support.families import DATA, EXPERT_WIDTH, PARENTS, SIZES, WIDTH, write_parents
from support.family_flow import FULL, PROMPT
from support.published import plan_of
from support.served import SCRIPTS, write

FITTING = {  # sizes that vLLM's kernels on processors have: multiples of 32
    **dict.fromkeys(
        ("head_dim", "v_head_dim", "swa_head_dim", "kv_channels", "attention_head_dim", "qk_nope_head_dim"), 32
    ),
    **{key: -(-size // 32) * 32 for key, size in SIZES.items() if size in (WIDTH, EXPERT_WIDTH)},
    **dict.fromkeys(("linear_head_dim", "linear_key_head_dim", "linear_value_head_dim"), 32),
    "kv_lora_rank": 512,  # of latent attention, as the next two
    "qk_rope_head_dim": 64,
    "index_head_dim": 128,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 2),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
}
SERVED = DATA["served"]
TOKENS = 12  # of an answer
CLOSE = {"float32": 1e-3, "bfloat16": 5e-2}  # difference of two logits, below which either token may be taken
SETTINGS = {
    "enforce_eager": True,
    "skip_tokenizer_init": True,
    "max_model_len": 64,
    "max_num_seqs": 2,
    "max_num_batched_tokens": 64,
    "kv_cache_memory_bytes": 64 << 20,
    "model_impl": "vllm",
    "disable_log_stats": True,
    "worker_extension_cls": "aoe.serving.vllm_loader.PlanLoading",
}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
NOT_KNOWN = "vLLM has no class for it"  # as below
SERVE = """
import json, os, sys, traceback
from vllm import LLM, SamplingParams
from vllm.model_executor.models import ModelRegistry


def answer(architecture, prompt, settings):
    if architecture not in ModelRegistry.get_supported_archs():
        return {"error": "vLLM has no class for it"}
    sampling = SamplingParams(temperature=0, max_tokens=int(sys.argv[1]), ignore_eos=True, detokenize=False)
    try:
        found = LLM(**settings).generate({"prompt_token_ids": prompt}, sampling, use_tqdm=False)[0]
        return {"tokens": list(found.outputs[0].token_ids)}
    except BaseException as error:
        while error.__cause__ or error.__context__:
            error = error.__cause__ or error.__context__
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__}: {str(error) or where.line}"}


for line in sys.stdin:
    name, *request = json.loads(line)
    child = os.fork()  # a process has one engine
    if not child:
        print("FOUND " + json.dumps([name, answer(*request)]), flush=True)
        os._exit(0)
    ended = os.waitpid(child, 0)[1]
    if ended:
        print("FOUND " + json.dumps([name, {"error": f"vLLM ended with {ended}"}]), flush=True)
"""


def prepared(model_type, folder):
    """(the merged model's folder, its architecture, what vLLM needs to merge it while loading) of two tiny parents."""
    said = SERVED.get(model_type, {})
    folders, _ = write_parents(model_type, folder, FITTING, said.get("config", {}))
    parents = {name: Checkpoint(path, name) for name, path in folders.items()}
    plan = plan_of(FULL, parents)
    plan.save(folder / "plan.json")
    merged = write(Merge(plan, parents, "cpu"), folder / "merged")
    extra = {"plan": str(folder / "plan.json"), "checkpoints": {name: str(path) for name, path in folders.items()}}
    settings = SETTINGS | {"dtype": said.get("dtype", "float32"), "hf_overrides": said.get("stated", {})}
    settings |= {"model": str(folders[PARENTS[0]]), "load_format": "aoe", "model_loader_extra_config": extra}
    return merged, parents[PARENTS[0]].config["architectures"][0], settings


def served(flows, folder):
    """Yield (model type, what came of serving its merged model) of {model type: Flow}."""
    waiting, merged, expected = {}, {}, {}
    for model_type in flows:
        try:
            merged[model_type], *request = prepared(model_type, folder / f"{model_type}-served")
            expected[model_type] = _expected(flows[model_type].model, merged[model_type], request[1]["dtype"])
            waiting[model_type] = [model_type, request[0], PROMPT[0].tolist(), request[1]]
        except Exception as error:  # of any kind: these heads may not fit a family
            yield model_type, f"not tried: {str(error).splitlines()[0]}"
    own = {name: [*request, settings | _files(merged[name])] for name, (*request, settings) in waiting.items()}
    answers = _answers(waiting, folder)
    wrong = {name: own[name] for name, found in answers.items() if found.get("error") != NOT_KNOWN}
    wrong = {name: own[name] for name in wrong if not _same(answers[name], expected[name])}
    by_itself = _answers(wrong, folder) if wrong else {}
    for name, found in answers.items():
        if found.get("error") == NOT_KNOWN:
            yield name, NOT_KNOWN
        elif name not in wrong:
            yield name, "answers as transformers does"
        elif by_itself[name] == found:
            said = found.get("error") or "answers otherwise than transformers does"
            yield name, f"vLLM's own loader, from the merged files, as well: {said.splitlines()[0][:160]}"
        else:
            yield name, f"differs from the merged files: {json.dumps(found)[:160]}"


def _files(folder):
    """The settings of vLLM's own loader."""
    return {"model": str(folder), "load_format": "safetensors", "model_loader_extra_config": {}}


def _answers(waiting, folder):
    """{name: {"tokens"} or {"error"}} of vLLM."""
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | ENVIRONMENT | {"PYTHONPATH": path, "VLLM_CACHE_ROOT": str(Path(folder) / "vllm")}
    lines = "".join(json.dumps(request) + "\n" for request in waiting.values())
    command = [sys.executable, "-c", SERVE, str(TOKENS)]
    done = subprocess.run(command, input=lines, env=variables, capture_output=True, encoding="utf-8")
    found = dict(json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("FOUND "))
    assert found.keys() == waiting.keys(), done.stderr[-5000:]
    return found


@torch.no_grad()
def _expected(cls, folder, dtype):
    """transformers' greedy answer: [(tokens that are as good, the token taken)]."""
    model = cls.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    ids, steps = PROMPT, []
    for _ in range(TOKENS):
        logits = model(input_ids=ids, use_cache=False).logits[0, -1].float()
        best = int(logits.argmax())
        steps.append(({int(token) for token in torch.nonzero(logits > logits.max() - CLOSE[dtype])[:, 0]}, best))
        ids = torch.cat([ids, torch.tensor([[best]])], dim=1)
    return steps


def _same(found, steps):
    """Whether an answer is transformers', up to a token that is as good as another."""
    for token, (good, best) in zip(found.get("tokens", [None]), steps, strict=False):
        if token != best:
            return token in good
    return "tokens" in found
