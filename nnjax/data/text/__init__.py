"""Texts to token ids and back: vocabularies, plain and learned; a tokenizer is its statistics."""
