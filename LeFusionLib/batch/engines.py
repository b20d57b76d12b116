"""Where the cases of a batch are made: in this process, one after the other, or in many, by Ray."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import Cancelled, LeFusionError
from .cases import BatchCase, Cancel

Job = Callable[[BatchCase, Cancel | None], dict[str, Any]]
NewJob = Callable[[], Job]  # in the process that works: models are opened there, once

LOOK_S = 0.5  # how often Ray is asked whether a case has ended, and the user whether to go on


def local(cases: Sequence[BatchCase], new_job: NewJob, workers: int | None, cancel: Cancel) -> Iterator[dict[str, Any]]:
    """One case after the other, here."""
    if workers not in (None, 1):
        raise LeFusionError(f"The engine 'local' has one worker; got {workers}. More have `--engine ray`.")
    job = new_job()
    for case in cases:
        if cancel():
            raise Cancelled("Stopped; run the same command again to go on.")
        yield job(case, cancel)


def ray(cases: Sequence[BatchCase], new_job: NewJob, workers: int | None, cancel: Cancel) -> Iterator[dict[str, Any]]:
    """By `workers` processes of Ray, on this machine, or on the cluster that RAY_ADDRESS names: by default one for each
    GPU, or two processors. Results come as they end; a cancelled case is ended with its process."""
    elsewhere = bool(os.environ.get("RAY_ADDRESS"))
    if not elsewhere:  # Ray listens on every interface of the machine, so only to those who know this batch's token
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray as cluster
    except ImportError as error:
        raise LeFusionError(
            "The engine 'ray' needs the package ray, 2.52 or newer. Install it with: pip install 'lefusion[ray]'"
        ) from error
    local_only = {} if elsewhere else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    cluster.init(log_to_driver=False, logging_level="error", **local_only)
    gpus = int(cluster.cluster_resources().get("GPU", 0))
    processors = int(cluster.cluster_resources().get("CPU", 1))
    count = min(workers or gpus or max(processors // 2, 1), len(cases))
    share = {"num_gpus": gpus / count} if gpus else {"num_cpus": processors / count}
    actors = [cluster.remote(**share)(_Maker).remote(new_job) for _ in range(count)]
    try:
        waiting, running = list(reversed(cases)), {}
        for actor in actors:
            running[actor.make.remote(waiting.pop())] = actor
        while running:
            if cancel():
                raise Cancelled("Stopped; run the same command again to go on.")
            ended, _ = cluster.wait(list(running), timeout=LOOK_S)
            for answer in ended:
                actor = running.pop(answer)
                if waiting:
                    running[actor.make.remote(waiting.pop())] = actor
                yield cluster.get(answer)
    finally:
        for actor in actors:
            cluster.kill(actor)
        cluster.shutdown()


class _Maker:
    """A process of Ray's; it keeps its models open."""

    def __init__(self, new_job: NewJob):
        self._job = new_job()

    def make(self, case: BatchCase) -> dict[str, Any]:
        return self._job(case, None)


ENGINES = {"local": local, "ray": ray}
