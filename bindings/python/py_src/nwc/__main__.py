"""``python -m nwc``: the command line; ``python -m nwc lm-eval ARGS`` is lm-eval with nwc's folders for models."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the command line and returns its exit code."""
    if sys.argv[1:2] == ["lm-eval"]:
        import nwc.transformers  # noqa: F401

        from lm_eval.__main__ import cli_evaluate

        sys.argv = ["lm-eval", *sys.argv[2:]]
        return cli_evaluate() or 0
    from nwc._nwc import run_cli

    # The command line is Rust from here on: Ctrl-C ends it as it ends nwc-cli.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_cli(["python -m nwc", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
