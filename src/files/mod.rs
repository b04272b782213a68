//! Model files: safetensors, GGUF and diffusers folders, read without trust.
