"""The TCP echo on asyncio under simloop, for comparison. Run by an interpreter that has simloop, not by ours:

    python3.12 scripts/bench_simloop.py CLIENTS ECHOES     prints echoes per second of real time

Latency is drawn per message, between 1 and 50 ms. `explore` is how simloop's users run a program: its time counts
whole, as the making and closing of a world does on our side.
"""

import asyncio
import sys
import time

import simloop  # type: ignore[import-not-found]

PAYLOAD = b"x" * 100
PORT = 7
SEED = 1


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve() -> None:
    async with await asyncio.start_server(echo, port=PORT) as server:
        await server.serve_forever()


async def ask_echoes(count: int) -> None:
    reader, writer = await asyncio.open_connection("server", PORT)
    for _ in range(count):
        writer.write(PAYLOAD)
        await writer.drain()
        assert await reader.readexactly(len(PAYLOAD)) == PAYLOAD
    writer.close()


def echoes_per_s(clients: int, echoes: int) -> float:
    async def program() -> None:
        network = asyncio.get_running_loop().net  # type: ignore[attr-defined]
        network.set_defaults(latency=(0.001, 0.050))
        serving = network.host("server").create_task(serve())
        await asyncio.sleep(1)  # simulated; afterwards the server listens
        asking = [network.host(f"client{number}").create_task(ask_echoes(echoes)) for number in range(clients)]
        await asyncio.gather(*asking)
        await asyncio.sleep(1)  # afterwards the server has seen every connection end
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    begun_s = time.perf_counter()
    failure = simloop.explore(program, [SEED])
    elapsed_s = time.perf_counter() - begun_s
    assert failure is None, failure
    return clients * echoes / elapsed_s


if __name__ == "__main__":
    clients, echoes = map(int, sys.argv[1:])
    echoes_per_s(2, 2)  # warm, as ours is
    print(echoes_per_s(clients, echoes))
