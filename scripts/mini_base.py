"""Train the mini family's common ancestor from random weights; store it in f32 by the training's own names."""

from typing import TYPE_CHECKING

from safetensors.torch import save_file
from job.code import record_code
from job.logging import logged
from mini_family import training
from mini_family.language import Style

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    seed, recipe = snakemake.params.seed, snakemake.params.recipe
    model = training.MiniDeepseek(snakemake.params.architecture, seed).to(training.device())
    training.train(model, Style(**recipe["style"]), **recipe["training"], seed=f"{seed}/base")
    save_file(model.state_dict(), snakemake.output[0])
