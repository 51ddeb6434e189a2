"""Answers of a model to prompts, read with the sealed measurement of the run."""
