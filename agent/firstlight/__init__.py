"""The Firstlight agent: makes a fresh Linux box a managed, heartbeating device."""

__version__ = "0.2.0"
# No right clock, on a box or at a hub, is before the day this version was made: 2026-11-01. Move it at each release.
BUILT_AT_S = 1_793_491_200.0
