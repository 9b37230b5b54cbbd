"""The vocabulary of operations, by family."""
