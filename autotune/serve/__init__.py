"""The tuned deployment as a server: HTTP and WebSocket in front, the ``Recognizer`` in its own process."""
