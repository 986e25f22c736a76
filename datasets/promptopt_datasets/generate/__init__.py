"""The generators of the ready tasks: one module a task, its words and sentences in ``text/``.

``python -m promptopt_datasets.generate`` rewrites every data file, byte for byte the same.
"""
