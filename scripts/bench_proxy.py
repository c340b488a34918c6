"""A fault proxy in a process of its own, in front of a Redis of this machine: `python -m scripts.bench_proxy PORT`.

Prints its port, and ends with its standard input.
"""

import sys

import trio

from simulator.live.framing import framing_of
from simulator.live.proxy import Proxy


async def main(port: int) -> None:
    proxy = Proxy(("127.0.0.1", port), framing=framing_of("resp"))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        print(proxy.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
