"""The gateway: REST, documents, forms, the prediction log and the web page, before any Triton.

It holds no model: each page goes to the ensembles through the client.
"""
