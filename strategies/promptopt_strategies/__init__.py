"""The strategies that come with promptopt; one file a strategy."""
