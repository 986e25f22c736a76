"""Integrations: promptopt inside other people's frameworks."""
