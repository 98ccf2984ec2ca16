"""Where half precision pays, and which memory format."""

from __future__ import annotations

import torch


def bf16_pays(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16, instead of imitating it.

    A CPU without AVX512-BF16 or AMX imitates it, and trains ten times slower than in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu
    return cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()


def fastest(device: torch.device) -> torch.dtype:
    """The type that a network which is not trained computes fastest in.

    On a GPU float16, as fast as bfloat16 and eight times finer: a U²-Net's features stay below 30.
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if bf16_pays(device) else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where it pays, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16_pays(device))


def fastest_format(device: torch.device) -> torch.memory_format:
    """The memory format in which a U²-Net trains fastest: channels last where bfloat16 pays.

    There it halves a step, and in float32 it adds a half; a generator's step it changes little.
    """
    return torch.channels_last if bf16_pays(device) else torch.contiguous_format
