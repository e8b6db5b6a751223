"""Whether torch's compiler and exporter take a layer whole."""

from __future__ import annotations

import logging

import torch

from dynfilt.check.findings import Measured, first_line, short
from dynfilt.check.subject import Subject, relative_difference, run

SAME = 1e-4


@torch.no_grad()
def compiled(subject: Subject) -> Measured:
    """Whether torch.compile traces the layer without a graph break; nothing is generated, so this takes a second."""
    layer, x = subject.fresh().eval(), subject.images(4).float()
    expected = run(layer, x)
    torch.compiler.reset()
    try:
        difference = relative_difference(torch.compile(layer, backend="eager", fullgraph=True)(x), expected)
    except Exception as error:
        return Measured(False, f"torch.compile makes no whole graph of it: {first_line(error)}")
    finally:
        torch.compiler.reset()
    return Measured(difference <= SAME, f"one graph without breaks, the same output to {short(difference)}", difference)


@torch.no_grad()
def exported(subject: Subject) -> Measured:
    """Whether torch.export takes the layer with a free batch size."""
    layer = subject.fresh().eval()
    free = ({0: torch.export.Dim("batch")},)
    logging.disable(logging.CRITICAL)  # torch logs a traceback for what it then raises
    try:
        program = torch.export.export(layer, (subject.images(4).float(),), dynamic_shapes=free).module()
    finally:
        logging.disable(logging.NOTSET)
    worst = 0.0
    for batch in (1, 7):
        x = subject.images(batch).float()
        worst = max(worst, relative_difference(program(x), run(layer, x)))
    return Measured(worst <= SAME, f"with a free batch size, the same output to {short(worst)}", worst)
