"""Training programs: corpus, baselines, the character model, its report, and the tasks."""
