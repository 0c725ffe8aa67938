"""The service: speech over HTTP. It imports the engine; nothing but the command line imports it."""
