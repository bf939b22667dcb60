"""Databases and files behind ports: what each promises stands in ports.py, one folder a backend."""
