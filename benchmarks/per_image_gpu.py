"""A filter for each image on a GPU, in one short call: layers with every kernel and option, then training steps.

`python -m benchmarks.per_image_gpu --seconds 45`. Layers are measured one after the other in processes of their own,
so that none can end the others; rows are written as they come, one JSON object a line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.per_image_candidates import LAYERS, TINY_LAYERS, Layer, compilations, compile_candidates
from benchmarks.per_image_layer import Measurement
from benchmarks.per_image_training import TUNED_FILE, options_in_force, train, training_table
from benchmarks.tables import text_table
from benchmarks.timing import Deadline

Row = dict[str, Any]
GRACE_S = 15.0  # beyond a layer's time, for the candidate that was begun in it


def main(words: list[str] | None = None) -> int:
    """Measure layers, then training; print two tables. Exit code 1 when nothing could be measured."""
    arguments = _parser().parse_args(words)
    context = multiprocessing.get_context("spawn")
    device = torch.device("cpu" if arguments.rehearse else "cuda")
    batches = [2] if arguments.rehearse else [int(batch) for batch in arguments.batch.split(",")]
    layers = TINY_LAYERS if arguments.rehearse else LAYERS
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = stack.enter_context(arguments.out.open("a"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(scratch / "triton"))
        rows: list[Row] = []

        def keep(row: Row) -> None:
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()

        prepared = Deadline(arguments.prepare_seconds)
        jobs = compilations(layers, batches)[:: 8 if arguments.rehearse else 1]
        pool = ProcessPoolExecutor(max(1, min(len(jobs), (os.cpu_count() or 2) - 1)), mp_context=context)
        compiled = [pool.submit(compile_candidates, *job) for job in jobs]
        if arguments.rehearse:
            os.environ["TRITON_INTERPRET"] = "1"
        most = 1 if arguments.rehearse else None
        processes = [
            LayerProcess(context, layer, batches, device, most, arguments.prepare_seconds, keep) for layer in layers
        ]
        try:
            keep(_wait_for(compiled, prepared))
            pool.shutdown(wait=False, cancel_futures=True)
            tuned = _measure_layers(processes, batches, prepared, arguments.seconds)
        finally:
            for process in processes:
                process.close()
        print(layer_table(rows), flush=True)
        training = Deadline(arguments.training_seconds)
        for batch in batches:
            os.environ[TUNED_FILE] = str(scratch / f"tuned_{batch}.json")
            Path(os.environ[TUNED_FILE]).write_text(json.dumps(tuned[batch]))
            try:
                trained = train(batch, device, training, arguments.rehearse)
            except Exception as error:  # the layers' rows and the other batch are still wanted
                trained = [{"what": "training", "batch": batch, "way": "all", "ms": None, "failure": repr(error)[:200]}]
            for row in trained:
                keep(row)
        print(training_table(rows))
    return 0 if any(row.get("us") or row.get("ms") for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.per_image_gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0, help="for measuring layers (default: %(default)g)")
    parser.add_argument(
        "--prepare-seconds", type=float, default=90.0, help="at most, for compiling before that (default: %(default)g)"
    )
    parser.add_argument(
        "--training-seconds",
        type=float,
        default=300.0,
        help="at most, for all training; 0: none (default: %(default)g)",
    )
    parser.add_argument("--batch", default="512,128", help="batches, the most wanted first (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("per_image.jsonl"), help="default: %(default)s")
    parser.add_argument("--rehearse", action="store_true", help="tiny layers on a CPU in Triton's interpreter")
    return parser


def _wait_for(compiled: list[Future[int]], deadline: Deadline) -> Row:
    """Wait until Triton's cache is filled; what fails or comes too late is compiled when it is tried."""
    done, late = wait(compiled, timeout=deadline.seconds_left())
    kernels = sum(future.result() for future in done if future.exception() is None)
    failed = sum(future.exception() is not None for future in done)
    left = deadline.seconds_left()
    return {"what": "compiled ahead", "kernels": kernels, "failed": failed, "late": len(late), "seconds_left": left}


class LayerProcess:
    """A process that measures one layer, batch by batch."""

    def __init__(
        self,
        context: Any,
        layer: Layer,
        batches: list[int],
        device: torch.device,
        most: int | None,
        prepare_seconds: float,
        keep: Callable[[Row], None],
        serve: Callable[..., None] | None = None,
    ) -> None:
        self.layer, self._keep = layer, keep
        self._connection, theirs = context.Pipe()
        arguments = (theirs, layer, batches, str(device), most, prepare_seconds)
        self._process = context.Process(target=serve or serve_layer, args=arguments)
        self._process.start()
        theirs.close()

    def measure(self, batch: int, seconds: float) -> None:
        """Let it begin to measure a batch."""
        with contextlib.suppress(OSError):
            self._connection.send((batch, seconds))

    def answer(self, seconds: float) -> Any:
        """Keep the rows that come until it has done what it was asked for; None when it died or is too slow, which
        ends it."""
        deadline = Deadline(seconds)
        while True:
            try:
                if not self._connection.poll(deadline.seconds_left()):
                    return self._end(f"no answer within {seconds:.0f} s")
                kind, content = self._connection.recv()
            except (EOFError, OSError):
                return self._end("the process died")
            if kind == "done":
                return content
            self._keep({"layer": self.layer.name, **content})

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _end(self, failure: str) -> None:
        if not self._connection.closed:
            self._keep({"layer": self.layer.name, "what": "process", "failure": failure})
            self.close()


def serve_layer(
    connection: Connection, layer: Layer, batches: list[int], device_name: str, most: int | None, seconds: float
) -> None:
    """The process of a LayerProcess: prepare batches while half of the seconds are left, then measure when asked."""
    deadline = Deadline(seconds)
    device = torch.device(device_name)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # of the float32 results
    measurements = {}
    for batch in batches:

        def emit(batch: int = batch, **row: Any) -> None:
            connection.send(("row", {"batch": batch, **row}))

        measurements[batch] = Measurement(layer, batch, device, emit, most)
        if deadline.seconds_left() > seconds / 2:
            measurements[batch].prepare()
    connection.send(("done", None))
    while True:
        try:
            batch, seconds = connection.recv()
        except EOFError:
            return
        measurements[batch].run(seconds)
        connection.send(("done", options_in_force()))


def _measure_layers(
    processes: list[LayerProcess], batches: list[int], prepared: Deadline, seconds: float
) -> dict[int, dict[str, Any]]:
    """One layer and batch after the other; the best options of each batch."""
    for process in processes:
        process.answer(prepared.seconds_left() + GRACE_S)
    deadline = Deadline(seconds)
    tuned: dict[int, dict[str, Any]] = {batch: {"tuned": [], "constants": {}} for batch in batches}
    turns = [(batch, process) for batch in batches for process in processes]
    for index, (batch, process) in enumerate(turns):
        share = deadline.seconds_left() / (len(turns) - index)
        process.measure(batch, share)
        options = process.answer(share + GRACE_S)
        if options:
            tuned[batch]["tuned"] += options["tuned"]
            tuned[batch]["constants"] = tuned[batch]["constants"] or options["constants"]  # of the largest map
    return tuned


def layer_table(rows: list[Row]) -> str:
    """Microseconds by layer and batch: static, best by image, and the whole layer in each formulation."""
    whole = ("static", "per image", "stacked, compiled", "stacked", "outputs")
    parts = ("mix", "forward", "images", "filters", "unmix")
    heading = ["layer, batch", *(f"static {part}" for part in parts[1:4]), *parts, *(f"whole: {way}" for way in whole)]
    lines = []
    for layer, batch in dict.fromkeys((row.get("layer"), row.get("batch")) for row in rows if row.get("us")):
        here = [row for row in rows if (row.get("layer"), row.get("batch")) == (layer, batch)]
        cells = [_best(here, part, "static") for part in parts[1:4]]
        cells += [_best(here, part, "per image") for part in parts]
        cells += [_best(here, "whole", way) for way in whole]
        lines.append([f"{layer}, {batch}", *cells])
    return "\n\n".join([text_table(heading, lines), *_notes(rows)])


def _best(rows: list[Row], what: str, way: str) -> str:
    here = [row for row in rows if (row["what"], row.get("way")) == (what, way)]
    times = [row["us"] for row in here if row["us"] and not row["failure"]]
    return f"{min(times):.0f}" if times else "-"


def _notes(rows: list[Row]) -> Iterator[str]:
    """The three best options of each kernel, and what failed."""
    by_kernel: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("options") and row["us"] and not row["failure"]:
            by_kernel.setdefault(f"{row['layer']}, {row['batch']}, {row['what']}", []).append(row)
    for kernel, timed in by_kernel.items():
        best = sorted(timed, key=lambda row: row["us"])[:3]
        yield "\n".join(
            [kernel, *(f"  {row['us']:.1f} us, error {row['error']:.1e}, {row['options']}" for row in best)]
        )
    for row in rows:
        if row.get("failure"):
            yield f"failed: {json.dumps(row)}"


if __name__ == "__main__":
    sys.exit(main())
