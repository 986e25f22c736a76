"""Runs a file of prompts through ``vllm.LLM`` inside one process; for vLLM's own Python. Prints one JSON line."""

import argparse
import json
import time
from pathlib import Path

from vllm import LLM, SamplingParams


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    parser.add_argument("--eager", action="store_true")
    given = parser.parse_args()
    texts = [json.loads(line)["prompt"] for line in given.prompts.read_text(encoding="utf-8").splitlines()]
    model = LLM(given.model, max_model_len=given.max_model_len, enforce_eager=given.eager)
    sampling = SamplingParams(temperature=0.0, max_tokens=given.max_tokens)
    model.generate(["Hello."], sampling, use_tqdm=False)
    begun, begun_cpu = time.monotonic(), time.process_time()
    answers = model.generate(texts, sampling, use_tqdm=False)
    wall_s = time.monotonic() - begun
    read = sum(len(answer.prompt_token_ids or ()) for answer in answers)
    cached = sum(answer.num_cached_tokens or 0 for answer in answers)
    written = sum(len(answer.outputs[0].token_ids) for answer in answers)
    figures = {
        "requests_s": len(texts) / wall_s,
        "tokens_s": (read + written) / wall_s,
        "cpu_ms": 1000 * (time.process_time() - begun_cpu) / len(texts),
        "cached_share": cached / read,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
