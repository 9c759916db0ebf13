"""A real WireGuard mesh in network namespaces with the exporter on it: `argus-wg demo`."""
