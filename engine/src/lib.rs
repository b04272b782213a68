//! The CPU engine under Pochade: tensors, kernels, graph and plan. It knows nothing of diffusion.
