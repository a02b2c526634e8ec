"""Train a model of the mini family: next-token prediction on the family's language, on a GPU or slowly on a CPU.

The network is transformers' DeepSeek-V3 with one multi-token-prediction (MTP) layer beside it, as in the DeepSeek-V3
technical report, section 2.2.  The router's correction bias is trained as there, section 2.1.2: no gradient, a small
step towards an even load after every batch.
"""

import copy
import math
import random
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek
from mini_family import language

IGNORE = -100
MTP_LOSS_WEIGHT = 0.1
WORKERS = 12  # processes that draw examples; one GPU needs about as many


class MultiTokenPrediction(nn.Module):
    """Predicts the token after the next one from the main model's last hidden states and the next token's embedding."""

    def __init__(self, config: DeepseekV3Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.enorm = deepseek.DeepseekV3RMSNorm(size, eps=config.rms_norm_eps)
        self.hnorm = deepseek.DeepseekV3RMSNorm(size, eps=config.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * size, size, bias=False)
        self.block = deepseek.DeepseekV3DecoderLayer(config, layer_idx=config.num_hidden_layers)
        self.norm = deepseek.DeepseekV3RMSNorm(size, eps=config.rms_norm_eps)
        for module in self.modules():  # as transformers initializes the main model
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.initializer_range)
            elif isinstance(module, deepseek.DeepseekV3Experts):
                nn.init.normal_(module.gate_up_proj, std=config.initializer_range)
                nn.init.normal_(module.down_proj, std=config.initializer_range)
            elif isinstance(module, deepseek.DeepseekV3TopkRouter):
                nn.init.normal_(module.weight, std=config.initializer_range)

    def forward(self, hidden: Tensor, next_embedding: Tensor, position_embeddings: tuple[Tensor, Tensor]) -> Tensor:
        """Return hidden states (batch, length, hidden size) for the shared LM head.

        hidden, next_embedding: (batch, length, hidden size) each; position_embeddings: the rotary ones.
        """
        joined = self.eh_proj(torch.cat([self.enorm(next_embedding), self.hnorm(hidden)], dim=-1))
        out = self.block(joined, attention_mask=None, position_embeddings=position_embeddings)
        return self.norm(out[0] if isinstance(out, tuple) else out)


class MiniDeepseek(nn.Module):
    """DeepseekV3ForCausalLM (``main``) and its MTP layer (``mtp``), with the experts' loads counted for the balance.

    architecture: keys of a DeepSeek-V3 config.json.  Weights are f32, on the CPU, drawn from ``seed``.
    """

    def __init__(self, architecture: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        config = DeepseekV3Config(**copy.deepcopy(architecture))  # the config completes nested values in place
        if torch.cuda.is_available():
            config._experts_implementation = "grouped_mm"
        self.main = DeepseekV3ForCausalLM(config)
        self.mtp = MultiTokenPrediction(config)
        self.loads = {}
        for module in self.modules():
            if isinstance(module, deepseek.DeepseekV3MoE):
                module.experts.register_forward_pre_hook(partial(self._count_load, module.gate))

    def _count_load(self, gate, _, args):
        experts = gate.e_score_correction_bias.numel()
        self.loads[gate] = torch.bincount(args[1].detach().flatten(), minlength=experts)[:experts]

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the main model plus the weighted one of the MTP layer.

        tokens, labels: (batch, length) int64 each.
        """
        hidden = self.main.model(input_ids=tokens, use_cache=False).last_hidden_state
        loss = self._cross_entropy(hidden[:, :-1], labels[:, 1:])
        positions = torch.arange(tokens.shape[1] - 1, device=tokens.device)[None]
        following = self.main.model.embed_tokens(tokens[:, 1:])
        rotary = self.main.model.rotary_emb(following, position_ids=positions)
        ahead = self.mtp(hidden[:, :-1], following, rotary)
        return loss + MTP_LOSS_WEIGHT * self._cross_entropy(ahead[:, :-1], labels[:, 2:])

    def _cross_entropy(self, hidden, labels):
        logits = self.main.lm_head(hidden).float()
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)

    @torch.no_grad()
    def balance(self, speed: float) -> None:
        """Move each router's correction bias by ``speed`` towards an even load."""
        for gate, load in self.loads.items():
            gate.e_score_correction_bias += speed * torch.sign(load.float().mean() - load)


class Examples(torch.utils.data.IterableDataset):
    """Endless batches of (tokens, labels), each (batch, length) int64; examples of similar length share a batch.

    ``pool`` batches are drawn at a time and sorted by length.
    """

    def __init__(self, style: language.Style, batch: int, seed: int | str, pool: int = 8) -> None:
        self.style, self.batch, self.seed, self.pool = style, batch, seed, pool

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(f"{self.seed}/{worker.id if worker else 0}")
        encode = language.encoder()
        while True:
            pool = []
            for _ in range(self.batch * self.pool):
                pieces = [(encode(text), learned) for text, learned in language.example(rng, self.style)]
                tokens = [token for ids, _ in pieces for token in ids]
                labels = [token if learned else IGNORE for ids, learned in pieces for token in ids]
                pool.append((tokens, labels))
            pool.sort(key=lambda pair: len(pair[0]))
            batches = [pool[i : i + self.batch] for i in range(0, len(pool), self.batch)]
            rng.shuffle(batches)
            yield from map(self._pad, batches)

    @staticmethod
    def _pad(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
        length = max(len(tokens) for tokens, _ in rows)
        pad = language.VOCABULARY.index(language.PAD)
        tokens = torch.tensor([row + [pad] * (length - len(row)) for row, _ in rows])
        labels = torch.tensor([row + [IGNORE] * (length - len(row)) for _, row in rows])
        return tokens, labels


def device() -> str:
    """Return the device to train on: ``cuda`` or ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(
    model: MiniDeepseek,
    style: language.Style,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    body_factor: float,
    balance_speed: float,
    seed: int | str,
) -> None:
    """Train in place with AdamW; everything but the routed experts learns at ``learning_rate * body_factor``.

    style: language.Style; batch: examples a step; balance_speed: MiniDeepseek.balance's.  The paper's parents share a
    base and differ most in their experts; ``body_factor`` sets by how much.
    """
    place = next(model.parameters()).device.type
    workers = WORKERS if place == "cuda" else 0
    data = iter(torch.utils.data.DataLoader(Examples(style, batch, seed), batch_size=None, num_workers=workers))
    routed, body = [], []
    for name, parameter in model.named_parameters():
        (routed if ".mlp.experts." in name else body).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": routed, "peak": learning_rate},
        {"params": body, "peak": learning_rate * body_factor},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    warm_up, begin = max(1, min(100, steps // 10)), time.time()
    model.train()
    for step in range(steps):
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / warm_up) * decay
        tokens, labels = (part.to(place, non_blocking=True) for part in next(data))
        with torch.autocast(place, dtype=torch.bfloat16):
            loss = model.loss(tokens, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.balance(balance_speed)
        if step % max(1, steps // 10) == 0 or step == steps - 1:
            print(f"step {step + 1} of {steps}, loss {loss.item():.4f}, {time.time() - begin:.0f} s")
    model.eval()
