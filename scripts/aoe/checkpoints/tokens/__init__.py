"""Tokens of models: vocabularies, chat templates, generation configs, and the rows of embeddings that tokens have."""
