"""Long jobs: progress shown and Ctrl-C heard on the caller's thread while Rust works on others."""

from __future__ import annotations

import atexit
import json
import sys
import time
from typing import Any, Callable

from ._nwc import Job

Progress = bool | None | Callable[[str, int, int], None]

# A cancelled job may need a moment longer than its caller waits; the interpreter then waits for it at its end, so that
# its half-written output is gone.
_stopping: list[Job] = []


def finish(job: Job, progress: Progress = None) -> Any:
    """Waits for ``job`` and returns its result, read from JSON; on any exception meanwhile the job is stopped."""
    return json.loads(finish_text(job, progress))


def finish_text(job: Job, progress: Progress = None) -> str:
    """As :func:`finish`, with the result as the JSON text that it is."""
    with _reporter(progress) as report:
        try:
            while not job.wait(0.05):
                for what, done, total in job.progress():
                    report(what, done, total)
            for what, done, total in job.progress():
                report(what, done, total)
        except BaseException as error:
            job.cancel()
            # Ctrl-C is answered within a second; other exceptions wait until nothing is left behind.
            if not _wait(job, 0.8 if isinstance(error, KeyboardInterrupt) else 60.0):
                _stopping.append(job)
            raise
    return job.result()


def _wait(job: Job, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if job.wait(0.05):
            return True
    return job.wait(0.0)


@atexit.register
def _wait_for_stopping() -> None:
    for job in _stopping:
        _wait(job, 60.0)


class _Silent:
    def __enter__(self) -> Callable[[str, int, int], None]:
        return lambda what, done, total: None

    def __exit__(self, *exc: object) -> None:
        pass


class _Given(_Silent):
    def __init__(self, call: Callable[[str, int, int], None]) -> None:
        self._call = call

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._call


class _Bar(_Silent):
    def __init__(self, tqdm: Any) -> None:
        self._tqdm, self._bar, self._what = tqdm, None, None

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._show

    def _show(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._close()
            self._what = what
            self._bar = self._tqdm(total=total, desc=what, unit=" weights", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __exit__(self, *exc: object) -> None:
        self._close()


def _reporter(progress: Progress) -> _Silent:
    if callable(progress):
        return _Given(progress)
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return _Silent()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress:
            raise
        return _Silent()
    return _Bar(tqdm)
