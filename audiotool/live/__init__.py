"""A live stream between a microphone and a loudspeaker: devices, the loop between them, recordings."""
