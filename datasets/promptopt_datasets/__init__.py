"""Ready tasks of promptopt's own making, one folder each, and the readers of task data.

``datasets/README.md`` describes the folder format and the cards; ``promptopt_datasets.generate`` wrote the files.
"""
