"""JetMoe: a bias beside the routed experts, which is added to what they give together."""

from aoe.checkpoints.parts import Definition, TensorGroup

DEFINITION = Definition(title="JetMoe", patterns=((r"\.mlp\.bias$", TensorGroup.ROUTED_EXPERTS),))
