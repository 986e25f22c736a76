"""Ready tasks of promptopt's own making, one folder each, and the readers of task data.

The folder format and the cards are described in ``datasets/README.md``; ``promptopt_datasets.generate`` wrote the files.
"""
