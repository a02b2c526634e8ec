"""Assembly of Experts: build new language models by combining the weight tensors of existing ones [paper, section 3].

Plain Python on checkpoints in the Hugging Face safetensors layout; nothing here knows of the workflow around it.
"""

__version__ = "0.2.0"


class AoeError(Exception):
    """A user's mistake or a broken input, told in one sentence: what is wrong, where, and what to do."""


class AoeWarning(UserWarning):
    """What a user should know of a result that is made all the same, told in one sentence."""
