"""The edges to the network: sockets, TLS, listeners, streams to clients and to other servers."""
