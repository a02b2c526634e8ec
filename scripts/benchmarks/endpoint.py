"""vLLM's server as an Inspect model that keeps the id of every output token, which OpenAI's protocol leaves out."""

from inspect_ai.model import modelapi
from inspect_ai.model._providers.openai_compatible import OpenAICompatibleAPI
from openai import APIConnectionError

NAME = "vllm-endpoint"
RETURN_TOKEN_IDS = {"return_token_ids": True}  # vLLM's own parameter of a chat completion


@modelapi(name=NAME)
class VllmEndpoint(OpenAICompatibleAPI):
    """``vllm-endpoint/{model}`` at ``base_url`` with ``api_key``; answers carry ``token_ids`` in their metadata."""

    def __init__(self, model_name, **settings):
        super().__init__(model_name, service=NAME, **settings)

    def should_retry(self, ex):
        """A server of one's own that cannot be reached has died; to ask again would only hide it."""
        return not isinstance(ex, APIConnectionError) and super().should_retry(ex)

    def chat_choices_from_completion(self, completion, tools):
        choices = super().chat_choices_from_completion(completion, tools)
        for choice, raw in zip(choices, sorted(completion.choices, key=lambda raw: raw.index), strict=True):
            choice.message.metadata = {"token_ids": raw.token_ids}
        return choices
