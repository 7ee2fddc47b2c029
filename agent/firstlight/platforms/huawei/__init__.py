"""Huawei IoTDA: a device speaks MQTT or HTTPS with it, an operator the application interface of version 5.

``device.py`` and ``management.py`` are the two halves. The first is put together from ``credentials.py`` (client id and
password), ``topics.py``, ``report.py`` (what is sent), ``words.py`` (what is heard), ``https.py`` (calls with a token)
and ``bootstrap.py`` (the server that says where a device belongs); ``budget.py`` counts messages. The second from
``fields.py`` (rules of a new device) and ``answers.py`` (errors and records). docs/platforms/huawei.md is for people.
"""
