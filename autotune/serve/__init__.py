"""The tuned deployment as a server: HTTP and WebSocket in front, the measured ``Recognizer`` in a process of its own."""
