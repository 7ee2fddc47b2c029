"""RabbitMQ 3.10 as the broker: who may connect, beats over AMQP, and the end of sessions by the management API."""
