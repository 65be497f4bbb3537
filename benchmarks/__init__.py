"""The speed of aionif as ratios to what a program would use without it.

`python -m benchmarks` runs every measure and prints a table; each module holds the measures of one
kind and says how they are taken.
"""
