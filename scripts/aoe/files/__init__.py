"""Files as programs and people write them: read strictly, written completely."""
