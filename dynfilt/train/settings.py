"""The user's settings for training, checked when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dynfilt.layers.formulation import Formulation


@dataclass(frozen=True)
class TrainerSettings:
    """The keys of the group `trainer`; conf/trainer/default.yaml explains each.

    Raises ValueError, naming the key, for a value out of range.
    """

    epochs: float
    batch_size: int
    eval_batch_size: int
    device: str
    precision: Literal["float32", "tf32", "bfloat16"]
    channels_last: bool
    deterministic: bool
    compile: bool
    compile_mode: Literal["default", "reduce-overhead"]
    cuda_graph: bool
    formulation: Formulation
    clip_gradient_norm: float | None
    decay_choice: bool
    evaluate_every_epochs: float
    evaluate_every_steps: int | None
    patience: int | None
    max_steps: int | None
    max_eval_images: int | None
    check_layer: bool
    checkpoint_every_seconds: float
    progress_bar: Literal["auto", "on", "off"]

    def __post_init__(self) -> None:
        for key in (
            "epochs",
            "batch_size",
            "eval_batch_size",
            "evaluate_every_epochs",
            "checkpoint_every_seconds",
        ):
            self._require_positive(key)
        if self.cuda_graph and self.compile and self.compile_mode != "default":
            raise ValueError(
                f"trainer.compile_mode={self.compile_mode} records its own CUDA graphs: "
                "choose trainer.compile_mode=default or trainer.cuda_graph=false"
            )
        for key in ("evaluate_every_steps", "clip_gradient_norm", "patience", "max_steps", "max_eval_images"):
            if getattr(self, key) is not None:
                self._require_positive(key, ", or null for none")

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> torch.autocast:
        """bfloat16 where `precision` asks for it; attention and norms leave it themselves."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def set_arithmetic(self, device: torch.device) -> None:
        """Have this process compute float32 products and convolutions in IEEE float32, or in TF32 where `precision`
        says so, and by torch's deterministic algorithms where `deterministic` does; torch's own default on a GPU is
        TF32 for convolutions, and sums in any order.

        Raises ValueError for TF32 on a CPU.
        """
        if self.precision == "tf32" and device.type != "cuda":
            raise ValueError(f"trainer.precision=tf32 needs a CUDA device, but trainer.device is {device}")
        if self.deterministic:
            # cuBLAS adds up in any order unless its workspaces are fixed; torch reads this before it uses cuBLAS first.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        if device.type != "cuda":  # nothing to choose; and once chosen, torch.export refuses to run in this process
            return
        arithmetic = "tf32" if self.precision == "tf32" else "ieee"
        torch.backends.cudnn.conv.fp32_precision = arithmetic  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = arithmetic

    def compiled(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """The model as training calls it on full batches: through torch.compile where `compile` asks for it."""
        if not self.compile:
            return model
        from torch._inductor import config

        config.fallback_random = True  # masks of dropout as in the eager model
        return torch.compile(model, mode=self.compile_mode, dynamic=False)

    def _require_positive(self, key: str, otherwise: str = "") -> None:
        value = getattr(self, key)
        if not 0 < value < float("inf"):
            raise ValueError(f"trainer.{key}={value}: must be a number > 0{otherwise}")


def resolve_device(name: str) -> torch.device:
    """The device of `trainer.device`: `auto` is CUDA where there is one, else the CPU.

    Raises ValueError, listing what is allowed, for an unknown name or a CUDA device that is not there.
    """
    count = torch.cuda.device_count() if name != "cpu" else 0
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if count else torch.device("cpu")
    present = ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if name not in present:
        problem = "no such CUDA device here" if name.startswith("cuda") else "unknown device"
        raise ValueError(f"trainer.device={name}: {problem}; allowed on this machine: {', '.join(present)}")
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)
