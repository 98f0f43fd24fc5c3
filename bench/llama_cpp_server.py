"""The peer: xllamacpp's own HTTP server with one model, until it is told to end."""

from __future__ import annotations

import os
import signal

import click
import xllamacpp


@click.command()
@click.argument("path")
@click.option("--context", type=int, required=True)
@click.option("--threads", type=int, required=True)
@click.option("--port", type=int, required=True)
def main(path: str, context: int, threads: int, port: int) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel = context, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.hostnames, params.port = ["127.0.0.1"], port
    params.verbosity = 1
    # It listens for as long as it is held.
    _server = xllamacpp.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # Its own end waits for connections that are kept.
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
