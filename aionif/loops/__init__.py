"""Event loops: how the end of a call reaches its task on asyncio, on trio, and in a plain thread.

May use `process` and what is below; its own loops do not know each other. Private.
"""
