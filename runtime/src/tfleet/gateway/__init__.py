"""The web gateway: a page and a JSON API for pictures, in front of one or several model servers. Flask under gunicorn, on `tfleet.client`; no TensorFlow.

A request goes through `access` (who asks), `limits` (how often, how many at once), `uploads` (what is decoded at all), `catalogue` (which model) and
`upstreams` (which server), and comes back by `app`. `serving` is gunicorn around it.
"""
