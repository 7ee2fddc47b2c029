"""The contract between agent and hub, both directions side by side. Pure.

The only rooms of the agent that the hub imports are this one and the values it speaks in (``firstlight.core.model``,
``firstlight.errors``).
"""
