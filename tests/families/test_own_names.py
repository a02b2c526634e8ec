"""Parents of one family, one as the Hub has it and one with transformers' own names and stacks, go through all of it.

The reference is what transformers makes of both: their state dicts, merged in float64.
"""

import pytest
from support.families import PARENTS
from support.family_flow import Flow

# experts; these and prefixes; Mixtral's words; names of routers and of stacks; convolutions; prefixes alone
FAMILIES = [
    "qwen3_moe",
    "qwen3_5_moe",
    "mixtral",
    "granitemoe",
    "kimi_linear",
    "gemma3",
]


@pytest.mark.parametrize("own", PARENTS)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_family_with_two_sorts_of_names(model_type, own, tmp_path):
    flow = Flow(model_type, tmp_path, own=(own,))
    assert flow.parents["base"].files.keys() != flow.parents["other"].files.keys()
    assert flow.run() == {}
