"""Side by side: what a request costs in Countersign and in other reverse proxies, in one run on one machine.

A contender is a file in `contenders`, a scenario a file in `scenarios`; both are found by themselves. Absolute
times mean nothing on shared machines: what counts are ratios within one run. Linux only, since it reads /proc.
"""
