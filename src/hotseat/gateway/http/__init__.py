"""HTTP/1.1 on both sides: the clients' connections and the connections to model servers."""
