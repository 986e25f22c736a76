"""What authors of strategies, backends and stores test theirs with."""
