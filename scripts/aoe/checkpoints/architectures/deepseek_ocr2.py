"""DeepSeek-OCR-2: one of the two encoders of images is a Qwen2 model."""

from aoe.checkpoints.parts import Definition, TensorGroup

DEFINITION = Definition(title="DeepSeek-OCR-2", patterns=((r"^(?:model\.)?qwen2_model\.", TensorGroup.VISION),))
