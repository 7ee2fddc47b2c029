"""What every twin is made of: a clock that can be moved, a log, certificates, an HTTP server and an MQTT server.

A twin is a small real server on loopback that behaves as one vendor's platform does. It is a package
``tests/twins/NAME`` with ``serve(**options)``, a context manager that gives a ``Twin`` (see ``twin.py``):

    clock = TwinClock()
    log = Log()
    with HttpServer(app, clock=clock, log=log, identity=make_server(ca)) as http, MqttServer(rules, log=log) as mqtt:
        yield Twin("name", http.url, mqtt.url, ca.pem, ...)

The servers run in threads of their own; what they share with a test is guarded by a lock of the twin's.
"""
