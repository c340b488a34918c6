"""What holds for every test."""

import signal

# Who is started in the background of a shell ignores interrupts, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
