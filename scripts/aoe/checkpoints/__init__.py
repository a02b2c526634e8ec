"""Models as they are stored: tensors, configs, vocabularies, and what an architecture calls its parts."""
