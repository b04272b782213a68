# Chores. `just` alone lists them.

# Lists the chores.
default:
    @just --list

# What every change must pass.
check:
    bash .ci/run

# Paints a picture with the default model.
paint *arguments:
    cargo run --release -- paint {{arguments}}

# Binaries for 64-bit and 32-bit boards, in target/.
boards:
    cargo arm64
    cargo armv7

# A Debian package for 64-bit boards, in target/debian.
deb:
    cargo arm64
    deploy/build-deb aarch64-unknown-linux-gnu

# The quantised default model again, from its recipe (the same bytes), and its report.
model:
    cargo run --release -p pochade-quantize -- models/default -o models/default.gguf \
        --recipe models/default.toml --report models/report --prompts models/report.txt --report-seeds 1

# The recipe itself, measured anew: after training.
recipe:
    cargo run --release -p pochade-quantize -- models/default -o models/default.gguf \
        --weights mixed --calibrate models/calibration.txt --save-recipe models/default.toml

# Speed of the engine's products on this machine.
bench:
    cargo bench -p pochade-engine

# Pochade beside other engines on the same random networks (see benches/peers/README.md).
peers *arguments:
    cargo build --release --workspace && cargo build --release --example forward
    python3 benches/peers/run.py {{arguments}}

# Reference data for the tests, from diffusers and transformers (see tests/fixtures/README.md).
fixtures python="python3":
    {{python}} tests/fixtures/make_nets.py
    {{python}} tests/fixtures/make_diffusion.py
    {{python}} tests/fixtures/files/make_fixtures.py
    {{python}} tests/fixtures/make_pipeline.py
