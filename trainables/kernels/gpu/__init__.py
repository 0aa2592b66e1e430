"""Fused kernels for NVIDIA GPUs, in Triton."""
