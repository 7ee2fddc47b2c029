"""Errors in the vendor's shape: ``error_code`` and ``error_msg`` (IoTDA), and the gateway's before it.

Codes and texts: the vendor's error code pages, as far as they could be read. Where those are silent (a product that
does not exist, a second device of one node_id) the nearest code that is known is used.
"""

from __future__ import annotations

from tests.twins.kit.http import Answer


class ApiError(Exception):
    """A refusal: HTTP status, code, text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text

    def answer(self) -> Answer:
        """As it goes over the wire."""
        return Answer({"error_code": self.code, "error_msg": self.text}, self.status)


def bad_input(why: str = "") -> ApiError:
    """400: a field outside its limits, or of the wrong type."""
    return ApiError(400, "IOTDA.000006", "Invalid input data." + (f" {why}" if why else ""))


def malformed() -> ApiError:
    """400: no JSON, wrong media type, or no object."""
    text = "Invalid input. Bad request, for more detail, refer to the error message."
    return ApiError(400, "IOTDA.000008", text)


def no_entry(why: str) -> ApiError:
    """401 of the gateway that checks tokens and signatures before the platform sees a request."""
    return ApiError(401, "APIGW.0301", f"Incorrect IAM authentication information: {why}")


def not_yours() -> ApiError:
    """403: a project that is not the token's, or a right that it lacks."""
    return ApiError(403, "IOTDA.000004", "Invalid access token.")


def no_device() -> ApiError:
    """404."""
    return ApiError(404, "IOTDA.014000", "The device does not exist.")


def device_exists() -> ApiError:
    """400: the id, or the node_id of this product, or the name in this resource space is taken."""
    return ApiError(400, "IOTDA.014031", "Invalid input. The device already exists.")


def no_application() -> ApiError:
    """403: the resource space is not there."""
    return ApiError(403, "IOTDA.001000", "The application does not exist.")
