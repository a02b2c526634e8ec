"""Fine-tune the mini family's base into one of its parents, and write it as a DeepSeek-V3 checkpoint."""

from typing import TYPE_CHECKING

from safetensors.torch import load_file
from job.code import record_code
from job.logging import logged
from mini_family import export, training
from mini_family.language import Style

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    seed, recipe, architecture = snakemake.params.seed, snakemake.params.recipe, snakemake.params.architecture
    model = training.MiniDeepseek(architecture, seed).to(training.device())
    model.load_state_dict(load_file(snakemake.input.base))
    name = snakemake.wildcards.parent
    training.train(model, Style(**recipe["style"]), **recipe["training"], seed=f"{seed}/{name}")
    export.write(model, architecture, snakemake.output[0])
