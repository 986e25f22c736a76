"""The store: one SQLite file that holds every study, trial, call, score and preference."""
