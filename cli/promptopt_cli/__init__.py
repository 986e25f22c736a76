"""The command line of promptopt."""
