"""Corpus, baselines, training and the report of a training run."""
