"""Runs as pandas data frames, for notebooks and other programs: `from analysis.frames import runs_frame`."""

from .frames import comparison_frame, curves_frame, predictions_frame, runs_frame

__all__ = ["comparison_frame", "curves_frame", "predictions_frame", "runs_frame"]
