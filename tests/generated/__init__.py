"""A record of all generated code: hashes of what the compiler writes for cells, functions and kernels.

``python -m tests.generated`` compares with the record in ``tests/golden/generated.json``, and
``--write`` makes it anew. Nothing is compiled or run.
"""
