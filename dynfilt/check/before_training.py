"""The cheap part of the check, for a convolution that comes from outside dynfilt."""

from __future__ import annotations

from dynfilt.check.layer import CHEAP, check_layer
from dynfilt.check.subject import Factory

KNOWN = ("dynfilt.", "torch.nn.Conv2d")


def check_own_layer(target: str, factory: Factory, channels_last: bool) -> None:
    """Raise ValueError, in one line, unless a convolution holds what training needs; `target` is its dotted path.

    It is built as networks build it, with 64 channels. Takes a second or two and leaves the random numbers as they are.
    Nothing is checked when the path is dynfilt's or torch.nn.Conv2d.
    """
    if target.startswith(KNOWN):
        return
    report = check_layer(factory, only=(*CHEAP, "layouts") if channels_last else CHEAP, bias=False)
    if report.failures:
        faults = "; ".join(f"{fault.property}: {fault.words}" for fault in report.failures[:3])
        more = f"; and {len(report.failures) - 3} more" if len(report.failures) > 3 else ""
        raise ValueError(
            f"model.conv._target_={target} does not hold the check of layers: {faults}{more}. `python -m dynfilt.check "
            f"{':'.join(target.rpartition('.')[::2])}` shows all; trainer.check_layer=false trains all the same"
        )
