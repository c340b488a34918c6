"""The command line of wavetank: the layer above the platform, its promises and the simulator."""
