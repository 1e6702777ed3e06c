"""A recognizer on virtual time: what its parts were measured to take, put together by its own scheduler."""
