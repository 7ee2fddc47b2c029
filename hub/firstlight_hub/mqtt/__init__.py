"""The hub's MQTT with mosquitto: the child process, the files it reads, and how the hub itself reaches a broker."""
