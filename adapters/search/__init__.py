"""Search on Elasticsearch and OpenSearch: the client, the engine's store, and the journal's search.

The rows come there by ``store``, which the engine writes through; ``journal`` asks for them.
"""
