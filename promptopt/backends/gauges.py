"""Gauges: what a vLLM server says of itself on ``/metrics``: its queue and its prefix cache."""

import re
from dataclasses import dataclass, fields
from typing import Self

# The names differ between versions; in each row the newest stands first.
_NAMES = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "preempted": ("vllm:num_preemptions_total",),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
}
_LINE = re.compile(r"^([\w:]+)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a server says of itself; all engines together, 0 where it says nothing.

    Args:
        running: Requests that it works on.
        waiting: Requests that wait for a place.
        preempted: Requests that had to give their place back, since the start.
        prefix_queries: Prompt tokens that were looked for in the prefix cache, since the start.
        prefix_hits: Those of them that were found.
        prompt_tokens: Prompt tokens, since the start.
        generation_tokens: Tokens written, since the start.
    """

    running: float = 0.0
    waiting: float = 0.0
    preempted: float = 0.0
    prefix_queries: float = 0.0
    prefix_hits: float = 0.0
    prompt_tokens: float = 0.0
    generation_tokens: float = 0.0

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the text of ``/metrics``, in the format of Prometheus."""
        sums: dict[str, float] = {}
        for name, value in _LINE.findall(text):
            sums[name] = sums.get(name, 0.0) + float(value)
        found = {field: next((sums[name] for name in names if name in sums), 0.0) for field, names in _NAMES.items()}
        return cls(**found)

    @property
    def cached_share(self) -> float:
        """The share of prompt tokens that the prefix cache had; 0 if none was looked for."""
        return self.prefix_hits / self.prefix_queries if self.prefix_queries else 0.0

    def __sub__(self, earlier: "Gauges") -> "Gauges":
        """Return what happened since an earlier reading; the queue is that of now."""
        now = ("running", "waiting")
        return Gauges(
            *(getattr(self, f.name) - (0 if f.name in now else getattr(earlier, f.name)) for f in fields(Gauges))
        )
