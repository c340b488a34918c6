"""`python -m wavetank`."""

from wavetank.command import main

main()
