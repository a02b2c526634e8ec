"""Backends are read out of a server's log, in the words of vLLM's releases."""

from aoe.serving.backends import backends_in

H100 = """\
(Worker_TP0_EP0 pid=7) INFO 11-28 01:00:00 [cuda.py:416] Using AttentionBackendEnum.FLASH_ATTN_MLA backend.
(Worker_TP0_EP0 pid=7) INFO 11-28 01:00:00 [selector.py:137] Using FLASH_ATTN MLA prefill backend.
(Worker_TP0_EP0 pid=7) INFO 11-28 01:00:00 [fp8.py:325] Using TRITON Fp8 MoE backend out of potential backends: ['AITER', 'DEEPGEMM'].
(Worker_TP0_EP0 pid=7) INFO 11-28 01:00:00 [__init__.py:601] Selected CutlassFp8BlockScaledMMKernel for Fp8LinearMethod
(Worker_TP1_EP1 pid=8) INFO 11-28 01:00:00 [__init__.py:601] Selected CutlassFp8BlockScaledMMKernel for Fp8LinearMethod
INFO 11-28 01:00:00 [topk_topp_sampler.py:39] FlashInfer top-p/top-k sampling disabled via VLLM_USE_FLASHINFER_SAMPLER=0.
"""  # noqa: E501


def test_what_a_server_says_of_itself():
    assert backends_in(H100) == {
        "attention": ["FLASH_ATTN_MLA"],
        "MLA prefill": ["FLASH_ATTN"],
        "experts": ["TRITON"],
        "linear layers": ["CutlassFp8BlockScaledMMKernel"],
        "sampler": ["FlashInfer top-p/top-k sampling disabled"],
    }


def test_what_vllm_chose_by_itself():
    chosen = "Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'FLASHINFER'].\n"
    assert backends_in(chosen + "Using FlashInfer for top-p & top-k sampling.") == {
        "attention": ["FLASH_ATTN"],
        "sampler": ["FlashInfer"],
    }


def test_a_log_that_says_nothing():
    assert backends_in("Started server process\n") == {}
