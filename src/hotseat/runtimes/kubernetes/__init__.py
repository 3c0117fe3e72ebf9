"""Models as workloads of a Kubernetes cluster."""
