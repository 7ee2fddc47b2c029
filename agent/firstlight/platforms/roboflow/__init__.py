"""Roboflow's Deployment Manager: the management half, against its public API."""

WITHOUT = {
    "device": "Roboflow has not published how a device speaks to it: run Roboflow's own installer on the box, "
    "or enroll it with a hub."
}
