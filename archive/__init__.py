"""Archives of documents, millions of pages: read, looked at and written down by Ray Data.

python -m archive SOURCE OUT
"""
