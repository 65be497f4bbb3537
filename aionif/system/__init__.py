"""What this machine is and what it allows: the processor, limits that were met, the control group.

May use nothing of the package; everything may use it. Private.
"""
