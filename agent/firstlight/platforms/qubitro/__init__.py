"""Qubitro (seed 003): devices with a token, over MQTT or HTTPS. docs/platforms/qubitro.md."""
