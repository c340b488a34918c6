"""An account server with a lost update, and the promise that finds it."""

import hypothesis.strategies as st
import trio

from simulator import Host, System, always, machine_for, operation


class Accounts:
    """An ordinary Trio TCP service: "deposit 5" answers the new balance. It knows nothing of wavetank."""

    def __init__(self):
        self.balance = 0

    async def serve(self):
        await trio.serve_tcp(self.answer, 7000)

    async def answer(self, stream):
        async for line in stream:
            command, _, amount = line.decode().partition(" ")
            if command == "deposit":
                balance = self.balance
                await trio.sleep(0.01)  # writes an audit record, say
                self.balance = balance + int(amount)
            await stream.send_all(str(self.balance).encode())


async def ask(line):
    async with await trio.open_tcp_stream("bank", 7000) as stream:
        await stream.send_all(line.encode())
        return int(await stream.receive_some())


class Bank(System):
    fault_kinds = ("partition", "hold")

    def hosts(self):
        yield Host("bank", Accounts().serve, open_to_users=True)

    @operation(amount=st.integers(1, 9))
    async def deposit(self, user, amount):
        return await ask(f"deposit {amount}")

    @operation()
    async def read(self, user):
        return await ask("read")

    @always
    def no_deposit_is_lost(self, history):
        """Whoever reads sees at least what was confirmed before."""
        deposits = [each for each in history.operations("deposit") if each.ok]
        for read in history.operations("read"):
            before = [each for each in deposits if each.completed.index < read.invoked.index]
            confirmed = sum(each.arguments["amount"] for each in before)
            if read.ok and read.result < confirmed:
                return f"{read.user} read {read.result} after {confirmed} were confirmed"


system = Bank()
TestBank = machine_for(system).TestCase
