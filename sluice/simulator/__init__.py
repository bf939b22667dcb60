"""The provider simulator: answers as vendors do, with faults on request. Start reading in server.py."""
