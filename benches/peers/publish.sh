#!/usr/bin/env bash
# The run whose figures are in docs/numbers.md: every workload, the engines that matter, one thread.
set -euo pipefail
cd "$(dirname "$0")"
engines=("pochade int8" "pochade int4" "openvino" "onnxruntime f32" "onnxruntime int8 QDQ" "rten f32" "tract f32" "stable-diffusion.cpp")
python3 run.py --engines "${engines[@]}" "$@" --prepare
rm -rf results
python3 run.py --engines "${engines[@]}" --seconds 3 "$@" --no-install
python3 -m harness.publish
