"""Cosmos3-Omni: the tower that reads images has no prefix; the layers of its language model are not called blocks."""

from aoe.checkpoints.parts import Definition, TensorGroup

DEFINITION = Definition(title="Cosmos3-Omni", patterns=((r"^(?:blocks|patch_embed|pos_embed)\.", TensorGroup.VISION),))
