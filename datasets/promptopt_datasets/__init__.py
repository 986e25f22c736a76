"""Ready tasks of promptopt's own making, one folder each, in the folder format of ``datasets/README.md``.

The package holds data files only; the modules that made them are in ``promptopt_datasets.generate``.
"""
